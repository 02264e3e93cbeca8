"""PNG files for OpenCV and Pillow, which inflate all that is in them, whether anybody wants it or
not, and refuse the file where it becomes too much for them."""

import zlib

_PACKED = (b"zTXt", b"iTXt", b"iCCP")
"""Chunks of compressed text and profiles (PNG 3, 11.3). libpng inflates each to 8 MB at most, and
takes a thousand of them."""

_HARMLESS = 1 << 20
"""Bytes of compressed samples below which it does not matter to how much they inflate: zlib makes
them at most a thousand times as long."""

_PIECE = 1 << 14


def plain_png(data: bytes) -> bytes | None:
    """The file without compressed text and profiles; the file itself if it has none.

    Returns:
        None where OpenCV must not see it: a chunk claims to be longer than the file, and OpenCV
        would reserve the memory for all of it; or the samples inflate to more than the picture has.
    """
    plain, samples, is_whole = _without_packed(data)
    harmless = is_whole and (samples <= _HARMLESS or _inflates_to_the_picture(plain))
    return plain if harmless else None


def without_packed(data: bytes) -> bytes:
    """The file without compressed text and profiles, for Pillow, which bears all the rest."""
    return _without_packed(data)[0]


def _without_packed(data: bytes) -> tuple[bytes, int, bool]:
    """The file without such chunks, how many bytes of samples it has, and whether none of its
    chunks is longer than the file."""
    kept: list[bytes] = []
    start, place, samples = 0, 8, 0
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        name = data[place + 4 : place + 8]
        if name in _PACKED:
            kept.append(data[start:place])
            start = end
        elif name == b"IDAT":
            samples += end - place - 12
        place = end
    plain = b"".join([*kept, data[start:]]) if kept else data
    return plain, samples, place <= len(data)


def _inflates_to_the_picture(data: bytes) -> bool:
    """Whether the samples of a PNG are not many more than its size asks for."""
    width, height = (int.from_bytes(data[start : start + 4], "big") for start in (16, 20))
    # Four samples of two bytes are the most (11.2.1); interlacing adds less than a byte to each row
    # of its seven passes (8.1).
    most = 2 * height * (8 * width + 1) + 7
    inflater, found, place = zlib.decompressobj(), 0, 8
    view = memoryview(data)
    while place + 12 <= len(data) and not inflater.eof and found <= most:
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"IDAT":
            for start in range(place + 8, end, _PIECE):
                try:
                    found += len(inflater.decompress(view[start : min(start + _PIECE, end)]))
                except zlib.error:
                    return True  # no reader comes further than this
                if found > most:
                    break
        place = end + 4
    return found <= most
