"""Samples that PNG and TIFF files hold as zlib streams (RFC 1950)."""

import zlib

_PIECE = 1 << 14
"""Bytes taken at a time; they inflate to 17 MB at most."""


def check_inflated(stream: bytes, size: int) -> None:
    """That a stream is whole, holds just `size` bytes, and has nothing behind its end.

    Raises:
        ValueError: it is not so.
    """
    inflater, found = zlib.decompressobj(), 0
    for start in range(0, len(stream), _PIECE):
        try:
            found += len(inflater.decompress(stream[start : start + _PIECE]))
        except zlib.error as error:
            raise ValueError("damaged samples") from error
        if inflater.eof:
            if found != size or inflater.unused_data or start + _PIECE < len(stream):
                break
            return
        if found > size:
            break
    raise ValueError("other samples than the size asks for")
