"""WebP files (RFC 9649)."""

import struct

from blurline.imaging.chunks import riff_chunk, riff_chunks
from blurline.imaging.metadata import Metadata

_ICC, _ALPHA, _EXIF, _XMP = 0x20, 0x10, 0x08, 0x04
"""Flags of a VP8X chunk (2.7.1)."""


def clean(data: bytes, metadata: Metadata) -> bytes:
    """The picture with its transparency, and with `metadata`.

    Raises:
        ValueError: malformed or animated.
    """
    found: dict[bytes, bytes] = {}
    for name, content in riff_chunks(data):
        if name in (b"ANIM", b"ANMF"):
            raise ValueError("an animated WebP file")
        if name in (b"VP8 ", b"VP8L", b"ALPH"):
            if name in found:
                raise ValueError("two pictures in a WebP file")
            found[name] = content
    if found.keys() == {b"VP8L"}:
        width, height, has_alpha = _lossless_header(found[b"VP8L"])
    elif found.keys() in ({b"VP8 "}, {b"VP8 ", b"ALPH"}):
        (width, height), has_alpha = _lossy_size(found[b"VP8 "]), b"ALPH" in found
    else:
        raise ValueError("not one picture in a WebP file")
    icc, exif, xmp = metadata.profile_for(b"RGB "), metadata.exif(), metadata.xmp()
    chunks = sorted(found.items())  # ALPH comes before the rest
    if icc or exif or xmp or b"ALPH" in found:
        flags = _ALPHA * has_alpha | _ICC * bool(icc) | _EXIF * bool(exif) | _XMP * bool(xmp)
        sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks.insert(0, (b"VP8X", struct.pack("<I", flags) + sides))
        if icc:
            chunks.insert(1, (b"ICCP", icc))
        if exif:
            chunks.append((b"EXIF", exif))
        if xmp:
            chunks.append((b"XMP ", xmp))
    body = b"WEBP" + b"".join(riff_chunk(name, content) for name, content in chunks)
    return riff_chunk(b"RIFF", body)


def is_lossless(data: bytes) -> bool:
    """Whether the pixels of a still WebP file are stored without loss; False for a damaged one."""
    try:
        return any(name == b"VP8L" for name, _ in riff_chunks(data))
    except ValueError:
        return False


def _lossless_header(content: bytes) -> tuple[int, int, bool]:
    """Width, height and whether there is transparency (3.4)."""
    if len(content) < 5 or content[0] != 0x2F:
        raise ValueError("a malformed lossless picture")
    bits = int.from_bytes(content[1:5], "little")
    if bits >> 29:
        raise ValueError("a lossless picture of an unknown version")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)


def _lossy_size(content: bytes) -> tuple[int, int]:
    """Width and height of a key frame (RFC 6386, 9.1)."""
    if len(content) < 10 or content[0] & 1 or content[3:6] != b"\x9d\x01\x2a":
        raise ValueError("a malformed lossy picture")
    width, height = struct.unpack_from("<HH", content, 6)
    if not (width & 0x3FFF and height & 0x3FFF):
        raise ValueError("a lossy picture of no pixels")
    return width & 0x3FFF, height & 0x3FFF
