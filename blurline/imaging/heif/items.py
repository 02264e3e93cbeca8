"""The tables of a HEIF file: which items it holds, what describes them, and where they lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blurline.imaging.heif.boxes import BoxReader, boxes, spans

MAX_ROWS = 20_000
"""Of one table: parts of items, what items refer to, uses of properties. Some of these take up no
byte. A picture of 100 megapixels in tiles of 256 pixels a side needs some 6,000."""


@dataclass(frozen=True, slots=True)
class Property:
    """A box that describes an item; whoever does not know an essential one must not show it."""

    name: bytes
    content: bytes
    essential: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """An item and those that it refers to, in their order."""

    kind: bytes
    item: int
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """How an item is stored, and the start and length of each of its parts.

    `method` is 0 for places in the file and 1 for places in `Items.inner`; others are not read.
    """

    method: int
    parts: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(length for _, length in self.parts)


@dataclass(frozen=True, slots=True)
class Items:
    """All items of a file.

    Attributes:
        data: the file.
        inner: what the tables themselves hold of the items.
        primary: number of the item that the file is to be shown as.
        kinds: the type of each item.
        properties: what describes an item, in the order in which it applies.
        references: what refers to what.
        places: where each item lies.
    """

    data: bytes
    inner: bytes
    primary: int
    kinds: Mapping[int, bytes]
    properties: Mapping[int, Sequence[Property]]
    references: Sequence[Reference]
    places: Mapping[int, Place]

    def referring(self, kind: bytes, target: int) -> list[int]:
        """The items that refer so to `target`."""
        return [row.item for row in self.references if row.kind == kind and target in row.targets]

    def targets(self, kind: bytes, item: int) -> tuple[int, ...]:
        """What `item` refers to so."""
        found = (row.targets for row in self.references if row.kind == kind and row.item == item)
        return next(found, ())

    def check(self, item: int) -> int:
        """The bytes of an item, all of which are there.

        Raises:
            ValueError: it lies elsewhere, or beyond the end.
        """
        place = self.places.get(item)
        if place is None or not place.parts or place.method > 1:
            raise ValueError("an item that is not in the file")
        end = len(self.inner if place.method else self.data)
        if any(start + length > end for start, length in place.parts):
            raise ValueError("an item that ends after the file or box that holds it")
        return place.size

    def content(self, item: int) -> bytes:
        """The bytes of an item.

        Raises:
            ValueError: as `check`.
        """
        self.check(item)
        place = self.places[item]
        whole = self.inner if place.method else self.data
        return b"".join(whole[start : start + length] for start, length in place.parts)


def read_items(data: bytes) -> Items:
    """The tables of the file, none of whose items is read yet.

    Raises:
        ValueError: they are malformed, missing, or larger than any picture needs.
    """
    tables = dict(boxes(_meta(data)[4:]))
    if not tables.keys() >= {b"pitm", b"iinf", b"iloc", b"iprp"}:
        raise ValueError("a HEIF file without its tables")
    first = BoxReader(tables[b"pitm"])
    return Items(
        data,
        tables.get(b"idat", b""),
        first.number(4 if first.head() else 2),
        _kinds(tables[b"iinf"]),
        _properties(tables[b"iprp"]),
        _references(tables[b"iref"]) if b"iref" in tables else (),
        _places(tables[b"iloc"]),
    )


def _meta(data: bytes) -> bytes:
    """The box that holds the tables; what follows it need not be well-formed."""
    for name, start, end in spans(data):
        if name == b"meta":
            return data[start:end]
    raise ValueError("a HEIF file without its tables")


def _kinds(table: bytes) -> dict[int, bytes]:
    """The type of each item (14496-12, 8.11.6); older entries, which have none, are left out."""
    reader = BoxReader(table)
    reader.number(4 if reader.head() else 2)
    found = {}
    for name, entry in boxes(reader.rest):
        if name == b"infe" and entry[:1] in (b"\2", b"\3"):
            row = BoxReader(entry, 4)
            item, _ = row.number(2 if entry[0] == 2 else 4), row.number(2)
            found[item] = row.take(4)
    return found


def _places(table: bytes) -> dict[int, Place]:
    """Where each item is (14496-12, 8.11.3); those in another file are left out."""
    reader = BoxReader(table)
    version = reader.head()
    (start_size, length_size), (base_size, index_size) = (
        divmod(reader.number(1), 16) for _ in range(2)
    )
    wide = 4 if version == 2 else 2
    found, rows = {}, 0
    for _ in range(reader.number(wide)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else 0
        elsewhere = reader.number(2)
        base, count = reader.number(base_size), reader.number(2)
        rows += count + 1
        if rows > MAX_ROWS:
            raise ValueError("items in more parts than any picture has")
        parts = []
        for _ in range(count):
            reader.number(index_size if version else 0)
            parts.append((base + reader.number(start_size), reader.number(length_size)))
        if not elsewhere:
            found[item] = Place(method, tuple(parts))
    return found


def _references(table: bytes) -> list[Reference]:
    """What refers to what (14496-12, 8.11.12)."""
    outer, found, rows = BoxReader(table), [], 0
    wide = 4 if outer.head() else 2
    for kind, entry in boxes(outer.rest):
        reader = BoxReader(entry)
        item, count = reader.number(wide), reader.number(2)
        rows += count
        if rows > MAX_ROWS:
            raise ValueError("more references than any picture has")
        found.append(Reference(kind, item, tuple(reader.number(wide) for _ in range(count))))
    return found


def _properties(table: bytes) -> dict[int, list[Property]]:
    """The properties of each item, in the order in which they apply (14496-12, 8.11.14)."""
    parts = list(boxes(table))
    known = [list(boxes(content)) for name, content in parts if name == b"ipco"]
    found: dict[int, list[Property]] = {}
    rows = 0
    for _, content in (part for part in parts if part[0] == b"ipma"):
        reader = BoxReader(content)
        version, flags = reader.number(1), reader.number(3)
        width = 2 if flags & 1 else 1
        for _ in range(reader.number(4)):
            item = reader.number(4 if version else 2)
            count = reader.number(1)
            rows += count + 1
            if rows > MAX_ROWS:
                raise ValueError("more properties than any picture has")
            for _ in range(count):
                essential, index = divmod(reader.number(width), 1 << 8 * width - 1)
                if len(known) != 1 or index > len(known[0]):
                    raise ValueError("a property that is not there")
                if index:
                    name, value = known[0][index - 1]
                    found.setdefault(item, []).append(Property(name, value, bool(essential)))
    return found
