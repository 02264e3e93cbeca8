"""GIF files (CompuServe, GIF89a)."""

import struct

from blurline.imaging.chunks import Reader
from blurline.imaging.metadata import Metadata

_EXTENSION, _IMAGE, _TRAILER, _CONTROL = 0x21, 0x2C, 0x3B, 0xF9
_LARGEST_CODE = 12


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The picture with its palette and transparency; of `metadata` there is no place for anything.

    Raises:
        ValueError: malformed, animated, with more or fewer pixels than its size asks for, or it
            would have to be shown turned.
    """
    if metadata.orientation != 1:
        raise ValueError("a GIF file can't say how it is turned")
    reader = _Reader(data)
    if reader.take(6) not in (b"GIF87a", b"GIF89a"):
        raise ValueError("no GIF file")
    width, height, flags, background, _ = struct.unpack("<HHBBB", reader.take(7))
    palette = reader.palette(flags)
    control = image = b""
    while (kind := reader.take(1)[0]) != _TRAILER:
        if kind == _EXTENSION:
            label, content = reader.take(1)[0], reader.blocks()
            if label == _CONTROL and not image:
                control = _control(content)
        elif kind == _IMAGE and not image:
            image = _image(reader)
        else:
            raise ValueError("a GIF file of two pictures, or malformed")
    if not image:
        raise ValueError("a GIF file without a picture")
    screen = struct.pack("<HHBBB", width, height, flags & 0xF7, background, 0)
    return b"GIF89a" + screen + palette + control + image + bytes((_TRAILER,))


class _Reader(Reader):
    """The parts of a file, one after the other."""

    def palette(self, flags: int) -> bytes:
        return self.take(3 << (flags & 7) + 1) if flags & 0x80 else b""

    def blocks(self) -> bytes:
        """What a chain of sub-blocks holds (section 15)."""
        parts = []
        while size := self.take(1)[0]:
            parts.append(self.take(size))
        return b"".join(parts)


def _control(content: bytes) -> bytes:
    """A graphic control extension that only says which colour is transparent (section 23)."""
    if len(content) != 4:
        raise ValueError("a malformed graphic control extension")
    if not content[0] & 1:
        return b""
    return bytes((_EXTENSION, _CONTROL, 4, 1, 0, 0, content[3], 0))


def _image(reader: _Reader) -> bytes:
    """Descriptor, palette and coded pixels of an image (sections 20 to 22)."""
    descriptor = reader.take(9)
    _, _, width, height, flags = struct.unpack("<4HB", descriptor)
    palette = reader.palette(flags)
    bits, codes = reader.take(1)[0], reader.blocks()
    _check_codes(codes, bits, width * height)
    blocks = [codes[start : start + 255] for start in range(0, len(codes), 255)]
    chain = b"".join(bytes((len(block),)) + block for block in blocks) + b"\0"
    head = descriptor[:8] + bytes((flags & 0xC7,))
    return bytes((_IMAGE,)) + head + palette + bytes((bits,)) + chain


def _check_codes(codes: bytes, bits: int, pixels: int) -> None:
    """That LZW codes stand for just so many pixels and that nothing follows them (appendix F).

    How long a code's string is can be told without knowing what it spells.
    """
    if not 1 <= bits <= 8:
        raise ValueError("a malformed code size")
    clear, end = 1 << bits, (1 << bits) + 1
    lengths = [1] * clear + [0, 0]
    width, last, found = bits + 1, 0, 0
    waiting = held = 0
    for place, byte in enumerate(codes, 1):
        waiting |= byte << held
        held += 8
        while held >= width:
            code = waiting & (1 << width) - 1
            waiting >>= width
            held -= width
            if code == end:
                if place != len(codes) or found != pixels:
                    raise ValueError("other pixels than the size asks for")
                return
            if code == clear:
                del lengths[end + 1 :]
                width, last = bits + 1, 0
                continue
            if last and len(lengths) < 1 << _LARGEST_CODE:
                lengths.append(last + 1)
            if code >= len(lengths):
                raise ValueError("a code that stands for nothing")
            last = lengths[code]
            found += last
            if len(lengths) == 1 << width and width < _LARGEST_CODE:
                width += 1
    raise ValueError("pixels without an end")
