"""Cameras' raw files, known by their content.

They hold the values of a sensor, which nobody here develops, and beside them previews that a reader
of TIFF or JPEG takes for the picture. So they are refused by name before one does.
"""

from collections.abc import Iterator

from blurline.imaging.tiff.directory import COMPRESSION, MAKE, PHOTOMETRIC, Directory, directories

_MARKS = (
    (0, b"FUJIFILMCCD-RAW", "RAF"),
    (0, b"IIRO", "ORF"),
    (0, b"IIRS", "ORF"),
    (0, b"MMOR", "ORF"),
    (0, b"IIU\0", "RW2"),
    (0, b"FOVb", "X3F"),
    (0, b"\0MRM", "MRW"),
    (0, b"\0MRI", "MRW"),
    (0, b"NOKIARAW", "NOKIARAW"),
    (0, b"ARRI", "ARI"),
    (0, b"ARECOYK", "Contax RAW"),
    (0, b"qktk", "QTK"),
    (0, b"qktn", "QTK"),
    (4, b"ftypcrx ", "CR3"),
    (6, b"HEAPCCDR", "CRW"),
)
"""Where a mark stands, the mark, and the name of the files."""

_TIFF_MARKS = ((b"IIII", "IIQ"), (b"MMMM", "IIQ"), (b"CR\2\0", "CR2"))
"""Those behind the header of what else is a TIFF file, where other files may have their pixels."""

_DNG_VERSION, _PRIVATE = 50706, 50740  # DNG 1.7, "DNGVersion", "DNGPrivateData"
_PATTERNS = (33421, 33422)  # TIFF/EP (ISO 12234-2), "CFARepeatPatternDim", "CFAPattern"
_LEAF, _STRIPS = 34310, 273

_SENSOR = (32803, 34892)
"""Photometric interpretations: a colour filter array (TIFF/EP), and LinearRaw (DNG)."""

_CODINGS = (262, 32767, 32769, 32770, 32867, 34713, 34892, 65000, 65535)
"""Compressions of cameras alone: Kodak, Sony, Epson, Samsung, Kodak, Nikon, lossy DNG, Kodak,
Pentax."""

_OLD_JPEG = 6  # TIFF 6.0, section 22, which cameras use for their previews

_MAKERS = {
    b"NIKON": "NEF",
    b"CANON": "CR2",
    b"SONY": "ARW",
    b"PENTAX": "PEF",
    b"RICOH": "PEF",
    b"SAMSUNG": "SRW",
    b"HASSELBLAD": "3FR",
    b"SEIKO EPSON": "ERF",
    b"EPSON": "ERF",
    b"KODAK": "DCR",
    b"EASTMAN KODAK": "DCR",
    b"PHASE ONE": "IIQ",
    b"LEAF": "MOS",
    b"MAMIYA": "MEF",
    b"OLYMPUS": "ORF",
    b"PANASONIC": "RW2",
}


def raw_name(data: bytes) -> str | None:
    """What raw files of this sort are called, such as RAF; None for a file that is none or a TIFF
    by its first bytes."""
    return next((name for place, mark, name in _MARKS if data.startswith(mark, place)), None)


def raw_tiff_name(data: bytes) -> str | None:
    """What raw files of this sort are called, such as NEF, of files that begin as TIFF does; None
    for any other TIFF file."""
    every = list(_every(data))
    for mark, name in _TIFF_MARKS:
        if data.startswith(mark, 8) and not any(8 in one.numbers(_STRIPS) for one in every):
            return name
    if any(_DNG_VERSION in directory.entries for directory in every):
        return "DNG"
    if any(_is_sensor(directory) for directory in every) or _are_previews(every):
        return _name(every)
    return None


def _every(data: bytes) -> Iterator[Directory]:
    for directory in directories(data):
        yield directory
        yield from directory.below()


def _is_sensor(directory: Directory) -> bool:
    """Whether it holds, or is that of a file that holds, a sensor's values."""
    return (
        directory.number(PHOTOMETRIC, 0) in _SENSOR
        or directory.number(COMPRESSION, 1) in _CODINGS
        or any(tag in directory.entries for tag in (*_PATTERNS, _PRIVATE, _LEAF))
    )


def _are_previews(every: list[Directory]) -> bool:
    """Whether a camera put nothing but small pictures where readers look."""
    if not every or MAKE not in every[0].entries:
        return False
    is_old_jpeg = every[0].number(COMPRESSION, 1) == _OLD_JPEG
    return is_old_jpeg or not any(directory.is_whole for directory in every)


def _name(every: list[Directory]) -> str:
    """By the maker, as the maker's own words are not repeated."""
    made = next((directory.content(MAKE) for directory in every if MAKE in directory.entries), b"")
    upper = made.upper().lstrip()
    return next((name for maker, name in _MAKERS.items() if upper.startswith(maker)), "raw")
