"""What the sequence header of AV1 says of its colours (AV1, 5.3 and 5.5)."""

from blurline.imaging.heif.boxes import BoxReader

_SEQUENCE = 1
_MOST_LEVEL_WITHOUT_TIER = 7


class _Bits:
    """The bits of some bytes, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next bits as a number.

        Raises:
            ValueError: there are not so many.
        """
        self._left -= count
        if self._left < 0:
            raise ValueError("a sequence header that ends too early")
        return self._number >> self._left & (1 << count) - 1

    def skip_long(self) -> None:
        """Past a number of variable length (AV1, 4.10.3)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(zeros if zeros < 32 else 0)


def units(stream: bytes) -> list[tuple[int, bytes, bytes]]:
    """Kind, whole bytes and content of each unit of a stream (AV1, 5.3).

    Raises:
        ValueError: they are malformed.
    """
    reader, found = BoxReader(stream), []
    while reader.more:
        start = reader.place
        head = reader.number(1)
        if head & 0x80:
            raise ValueError("a malformed AV1 stream")
        if head & 4:
            reader.take(1)
        content = reader.take(_leb128(reader) if head & 2 else len(reader.rest))
        found.append((head >> 3 & 15, stream[start : reader.place], content))
    return found


def _leb128(reader: BoxReader) -> int:
    """A number in groups of seven bits, the lowest first (AV1, 4.10.5)."""
    value = 0
    for shift in range(0, 56, 7):
        byte = reader.number(1)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ValueError("a malformed AV1 stream")


def colours_of(stream: bytes) -> tuple[int, int] | None:
    """Code points of primaries and transfer in the stream; None where it says nothing.

    Raises:
        ValueError: it is malformed.
    """
    header = next((content for kind, _, content in units(stream) if kind == _SEQUENCE), None)
    if header is None:
        return None
    bits = _Bits(header)
    profile, _, is_reduced = bits.take(3), bits.take(1), bits.take(1)
    if is_reduced:
        bits.take(5)
    else:
        _skip_timing(bits)
    sides = bits.take(4) + 1, bits.take(4) + 1
    bits.take(sum(sides))
    if not is_reduced and bits.take(1):
        bits.take(7)
    bits.take(3)
    if not is_reduced:
        _skip_tools(bits)
    bits.take(3)
    is_deep = bits.take(1)
    if profile == 2 and is_deep:
        bits.take(1)
    if profile != 1:
        bits.take(1)
    return (bits.take(8), bits.take(8)) if bits.take(1) else None


def _skip_timing(bits: _Bits) -> None:
    """Past timing, the decoder's model and the operating points."""
    delay = 0
    if bits.take(1):
        bits.take(64)
        if bits.take(1):
            bits.skip_long()
        if bits.take(1):
            delay = bits.take(5) + 1
            bits.take(42)
    has_delays = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > _MOST_LEVEL_WITHOUT_TIER:
            bits.take(1)
        if delay and bits.take(1):
            bits.take(2 * delay + 1)
        if has_delays and bits.take(1):
            bits.take(4)


def _skip_tools(bits: _Bits) -> None:
    """Past the tools of films, which a still picture's header may name too."""
    bits.take(4)
    has_order = bits.take(1)
    if has_order:
        bits.take(2)
    forces_content_tools = True if bits.take(1) else bool(bits.take(1))
    if forces_content_tools and not bits.take(1):
        bits.take(1)
    if has_order:
        bits.take(3)
