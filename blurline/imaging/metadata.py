"""What a picture file may say beside its pixels: read by an allow-list and written anew.

Nothing is copied as it stands. Values that are let through are read one by one, checked for their
type and form, and put into new EXIF directories, a new colour profile and, for a panorama's place
on its sphere, new XMP. Descriptions, comments, makers' notes, thumbnails and other XMP have no way
through.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from blurline.imaging import ifd, profile
from blurline.imaging.colours import code_points
from blurline.imaging.exif import ORIENTATION_TAG, orientation_of, read_exif
from blurline.imaging.heif.picture import read_picture
from blurline.imaging.kind import Kind
from blurline.imaging.packed import chunk_of_png, profile_of_png
from blurline.imaging.panorama import Panorama, panorama_of
from blurline.imaging.pillow import opened
from blurline.imaging.tiff.directory import ICC
from blurline.imaging.tiff.page import page_of

EXIF_TAG, GPS_TAG = 0x8769, 0x8825  # EXIF 2.32, 4.6.3: the tags that point to directories

_VERSION = ifd.undefined(0x9000, b"0232")
_GPS_VERSION = ifd.octets(0, bytes((2, 3, 0, 0)))
_FINEST = 1_000_000
"""The largest denominator of a number: a millionth of a second of arc is well below a micrometre.
It leaves no room for bytes in the shape of a fraction."""

_ALTITUDES = tuple(bytes((reference,)) for reference in range(4))
"""The references of altitudes, two of EXIF 2.32 and two more of EXIF 3.0, handed on as they are."""

_SHORTEST, _LONGEST = 0.01, 50_000
"""Focal lengths in millimetres; those of telescopes are not longer."""


class MetadataPolicy(StrEnum):
    """What of an original's metadata is let through.

    `MINIMAL` is what the right look needs: orientation and colour profile. `KEEP` adds the times of
    capture and change, the position, the camera's make, model and focal length, and how a panorama
    lies on its sphere. With `NONE` even the
    orientation is gone, so the pixels must be written upright.
    """

    KEEP = "keep"
    MINIMAL = "minimal"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a picture file is to say beside its pixels.

    Attributes:
        orientation: EXIF's 1 to 8 of the pixels as they are written; 1 for upright ones.
        icc: a colour profile as `profile.rebuilt` makes them.
        screen: one of what the file says of its colours otherwise, where it has no profile.
        camera: entries of the first EXIF directory.
        capture: entries of the directory that `EXIF_TAG` points to.
        gps: entries of the directory that `GPS_TAG` points to.
        panorama: where it lies on the sphere around its camera.
    """

    orientation: int = 1
    icc: bytes | None = None
    camera: tuple[ifd.Entry, ...] = ()
    capture: tuple[ifd.Entry, ...] = ()
    gps: tuple[ifd.Entry, ...] = ()
    panorama: Panorama | None = None
    screen: bytes | None = None

    def profile_for(self, space: bytes, *, has_points: bool = False) -> bytes | None:
        """The profile if it is one for pixels of that space: `RGB `, `GRAY` or `CMYK`.

        A kind of file that `has_points` itself, to say what colours mean, gets none made of them.
        """
        found = self.icc if has_points else self.icc or self.screen
        return found if found is not None and profile.colour_space(found) == space else None

    def exif(self) -> bytes:
        """An EXIF block (without the `Exif` mark that JPEG puts before it); empty for nothing."""
        if self.orientation == 1 and not (self.camera or self.capture or self.gps):
            return b""
        return ifd.HEADER + (8).to_bytes(4, "little") + self.directories((), 8)

    def xmp(self) -> bytes:
        """A packet of XMP; empty for nothing."""
        return b"" if self.panorama is None else self.panorama.xmp()

    def directories(self, entries: Sequence[ifd.Entry], place: int) -> bytes:
        """The EXIF directories, to stand at `place`, with more entries in the first of them."""
        turn = () if self.orientation == 1 else (ifd.shorts(ORIENTATION_TAG, self.orientation),)
        children = {
            EXIF_TAG: (_VERSION, *self.capture) if self.capture else (),
            GPS_TAG: (_GPS_VERSION, *self.gps) if self.gps else (),
        }
        return ifd.directories((*entries, *turn, *self.camera), children, place)


def read_metadata(data: bytes, kind: Kind, policy: MetadataPolicy) -> Metadata:
    """What `policy` lets through of the metadata of an original.

    Damaged or malformed metadata counts as missing; no content of a file leads to an error. The
    orientation is that of the pixels as they are stored: whoever writes them upright replaces it
    with 1 (`dataclasses.replace`).
    """
    if policy is MetadataPolicy.NONE:
        return Metadata()
    icc, orientation, tags, capture, gps = None, 1, _Tags({}), _Tags({}), _Tags({})
    # What Pillow's parsers raise for damaged metadata has no common base.
    with suppress(Exception):
        icc, exif = _sources(data, kind)
        orientation, tags = orientation_of(exif), _Tags(exif)
        with suppress(Exception):
            capture = _Tags(exif.get_ifd(EXIF_TAG))
        with suppress(Exception):
            gps = _Tags(exif.get_ifd(GPS_TAG))
    minimal = Metadata(
        orientation=orientation,
        icc=profile.rebuilt(icc) if isinstance(icc, bytes) else None,
        screen=None if icc else _screen(data, kind),
    )
    if policy is MetadataPolicy.MINIMAL:
        return minimal
    return Metadata(
        minimal.orientation,
        minimal.icc,
        camera=tags.texts({0x010F: _is_name, 0x0110: _is_name, 0x0132: _is_time}),
        capture=(
            *capture.texts(
                {
                    **dict.fromkeys((0x9003, 0x9004), _is_time),
                    **dict.fromkeys((0x9010, 0x9011, 0x9012), _is_offset),
                    **dict.fromkeys((0x9290, 0x9291, 0x9292), _is_subsecond),
                }
            ),
            *_focal_length(capture, tags),
        ),
        gps=_position(gps),
        panorama=panorama_of(data, kind),
        screen=minimal.screen,
    )


def _sources(data: bytes, kind: Kind) -> tuple[object, Image.Exif]:
    """The colour profile and the EXIF directories as they stand in the file."""
    if kind is Kind.TIFF:
        return page_of(data).content(ICC), read_exif(data, kind, None)
    if kind is Kind.HEIC:
        return read_picture(data).canvas.icc, read_exif(data, kind, None)
    with opened(data, kind) as image:
        icc = profile_of_png(data) if kind is Kind.PNG else image.info.get("icc_profile")
        return icc, read_exif(data, kind, image)


def _screen(data: bytes, kind: Kind) -> bytes | None:
    """A profile of what the file says of its colours by numbers."""
    from blurline.imaging import screen  # it computes by numpy, and the API knows policies without

    if points := code_points(data, kind):
        return screen.profile_of(points)
    if kind is not Kind.PNG or chunk_of_png(data, b"sRGB"):
        return None
    return screen.profile_of_numbers(chunk_of_png(data, b"gAMA"), chunk_of_png(data, b"cHRM"))


@dataclass(frozen=True, slots=True)
class _Tags:
    """A directory as Pillow reads it, tag by tag, since each may be damaged by itself."""

    values: Mapping[int, Any]

    def get(self, tag: int) -> object:
        """The tag's value, None where it is missing or damaged."""
        with suppress(Exception):
            return self.values.get(tag)
        return None

    def texts(self, forms: Mapping[int, Callable[[str], bool]]) -> tuple[ifd.Entry, ...]:
        """The entries of those tags whose text has the form that is asked for."""
        found = {tag: self._text(tag) for tag in forms}
        return tuple(ifd.ascii_text(tag, text) for tag, text in found.items() if forms[tag](text))

    def numbers(self, tag: int, *limits: int, least: int = 0) -> tuple[Fraction, ...]:
        """The tag's RATIONALs, one for each limit, from 0 to that; () where they are others.

        Args:
            tag: its number.
            limits: what each may be at most.
            least: how many there must be, if not all; those behind, and those behind of 0/0, which
                stands for a number that is not known, are 0.
        """
        value = self.get(tag)
        parts = value if isinstance(value, tuple) else (value,)
        if least:
            parts = _without_unknown(parts)
        rationals = [part for part in parts if isinstance(part, IFDRational) and part.denominator]
        exact = [
            Fraction(int(part.numerator), int(part.denominator)).limit_denominator(_FINEST)
            for part in rationals
        ]
        if not (least or len(limits)) <= len(exact) <= len(limits) or len(exact) != len(parts):
            return ()
        exact += [Fraction(0)] * (len(limits) - len(exact))
        fits = all(0 <= number <= limit for number, limit in zip(exact, limits, strict=True))
        return tuple(exact) if fits else ()

    def _text(self, tag: int) -> str:
        value = self.get(tag)
        return value.split("\0")[0].strip(" ") if isinstance(value, str) else ""


def _without_unknown(parts: tuple[object, ...]) -> tuple[object, ...]:
    """Parts of a number without those at its end that are 0/0."""
    while parts and isinstance(parts[-1], IFDRational):
        if parts[-1].numerator or parts[-1].denominator:
            break
        parts = parts[:-1]
    return parts


def _position(gps: _Tags) -> tuple[ifd.Entry, ...]:
    """Latitude, longitude, altitude, direction and time of EXIF 2.32, 4.6.6.

    A latitude or longitude says nothing without its letter, so both go. An altitude without a
    reference is one above the sea, a direction without one is from true north. Degrees may be
    followed by minutes with a fraction, or have one themselves; they are written as three numbers.
    """
    entries: list[ifd.Entry] = []
    for tag, letters, most in ((2, "NS", 90), (4, "EW", 180)):
        reference = gps.texts({tag - 1: set(letters).__contains__})
        if reference and (numbers := gps.numbers(tag, most, 60, 60, least=1)):
            entries += [*reference, ifd.rationals(tag, *numbers)]
    below = gps.get(5) or b"\0"
    if isinstance(below, int) and 0 < below < len(_ALTITUDES):  # not of the standard's type
        below = _ALTITUDES[below]
    if below in _ALTITUDES and (numbers := gps.numbers(6, 100_000)):
        entries += [ifd.octets(5, bytes(below)), ifd.rationals(6, *numbers)]
    if numbers := gps.numbers(7, 23, 59, 60, least=2):
        entries.append(ifd.rationals(7, *numbers))
    north = gps.texts({16: set("TM").__contains__})
    if not north and gps.get(16) in (None, ""):
        north = (ifd.ascii_text(16, "T"),)
    if north and (numbers := gps.numbers(17, 360)):
        entries += [*north, ifd.rationals(17, *numbers)]
    return (*entries, *gps.texts({29: _is_date}))


def _focal_length(*directories: _Tags) -> Iterator[ifd.Entry]:
    """The focal length in millimetres, and that of the same view on 35 mm film (EXIF 2.32, 4.6.5),
    of the first directory that has them; some writers put numbers of other types there.

    Without them a viewer does not know how wide the view is.
    """
    found = [tags.get(0x920A) for tags in directories]
    lengths = [float(n) for n in found if isinstance(n, int | float | IFDRational)]
    if fit := [n for n in lengths if _SHORTEST <= n <= _LONGEST]:
        yield ifd.rationals(0x920A, Fraction(fit[0]).limit_denominator(1000))
    found = [tags.get(0xA405) for tags in directories]
    if on_film := [n for n in found if isinstance(n, int) and 0 < n <= _LONGEST]:
        yield ifd.shorts(0xA405, on_film[0])


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[ -~]{1,64}", text) is not None


def _is_time(text: str) -> bool:
    return _is_of(text, r"\d{4}(:\d\d){2} \d\d(:\d\d){2}", "%Y:%m:%d %H:%M:%S")


def _is_date(text: str) -> bool:
    return _is_of(text, r"\d{4}(:\d\d){2}", "%Y:%m:%d")


def _is_of(text: str, form: str, meaning: str) -> bool:
    if not re.fullmatch(form, text, re.ASCII):
        return False
    try:
        datetime.strptime(text, meaning)
    except ValueError:
        return False
    return True


def _is_offset(text: str) -> bool:
    return re.fullmatch(r"[+-](0\d|1[0-4]):[0-5]\d", text) is not None


def _is_subsecond(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,9}", text) is not None
