"""How a picture lies on the sphere around its camera, as panorama viewers read it from XMP.

Nothing is copied as it stands: of Google's Photo Sphere properties (GPano) and the angles of
Pix4D's `Camera` those are read that are numbers, switches or known words, and a new packet is
written. https://developers.google.com/streetview/spherical-metadata
"""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal

from blurline.imaging.heif.picture import read_picture
from blurline.imaging.kind import Kind
from blurline.imaging.packed import xmp_of_png
from blurline.imaging.pillow import opened
from blurline.imaging.tiff.directory import XMP
from blurline.imaging.tiff.page import page_of

GPANO = "http://ns.google.com/photos/1.0/panorama/"
CAMERA = "http://pix4d.com/camera/1.0/"

LARGEST_PACKET = 256 * 1024
"""Bytes of XMP that are read; a segment of JPEG holds a quarter of it."""

MOST_PIXELS = 1_000_000
"""The longest side of a whole panorama."""

SPHERE = "equirectangular"
PROJECTIONS = (SPHERE, "cylindrical", "cubemap", "fisheye", "rectilinear")

_Reader = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Panorama:
    """Checked properties of one packet, as pairs of a name such as `PosePitchDegrees` and its text.

    Attributes:
        sphere: of the namespace `GPANO`.
        camera: of the namespace `CAMERA`.
    """

    sphere: tuple[tuple[str, str], ...] = ()
    camera: tuple[tuple[str, str], ...] = ()

    @property
    def wraps_around(self) -> bool:
        """Whether the picture goes all the way round, so that its left edge meets its right one."""
        said = dict(self.sphere)
        full, shown = (said.get(name) for name in ("FullPanoWidthPixels", _SHOWN_WIDTH))
        return said.get(_PROJECTION) == SPHERE and (full is None or shown in (None, full))

    def xmp(self) -> bytes:
        """A packet that says this and nothing else (ISO 16684-1, 7)."""
        elements = "".join(
            f"<{prefix}:{name}>{text}</{prefix}:{name}>"
            for prefix, values in (("GPano", self.sphere), ("Camera", self.camera))
            for name, text in values
        )
        return (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
            '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            f'<rdf:Description rdf:about="" xmlns:GPano="{GPANO}" xmlns:Camera="{CAMERA}">'
            f"{elements}</rdf:Description></rdf:RDF></x:xmpmeta>"
            '<?xpacket end="r"?>'
        ).encode()


def read_panorama(packet: bytes) -> Panorama | None:
    """What a packet of XMP says of it; None for nothing, or nothing that can be right.

    What is damaged counts as missing. Of sizes and places in pixels all are taken or none: half of
    them would put the picture to another place of the sphere.
    """
    text = packet[:LARGEST_PACKET].decode("utf-8", "replace")
    sphere = _values(text, GPANO, _SPHERE)
    if sphere.keys() & _PIXELS and not _fits(text, sphere):
        sphere = {name: value for name, value in sphere.items() if name not in _PIXELS}
    camera = _values(text, CAMERA, dict.fromkeys(("Yaw", "Pitch", "Roll"), _degrees(-360, 360)))
    found = Panorama(tuple(sphere.items()), tuple(camera.items()))
    return found if sphere or camera else None


def panorama_of(data: bytes, kind: Kind) -> Panorama | None:
    """What the picture file in `data` says of it; the pixels are not decoded."""
    # What Pillow's parsers raise for damaged files has no common base.
    with suppress(Exception):
        return read_panorama(_packet(data, kind))
    return None


def _packet(data: bytes, kind: Kind) -> bytes:
    """The XMP of the picture; empty where it has none."""
    if kind is Kind.PNG:
        return xmp_of_png(data, LARGEST_PACKET)
    if kind is Kind.TIFF:
        return page_of(data).content(XMP)
    if kind is Kind.HEIC:
        return read_picture(data).xmp(LARGEST_PACKET)
    with opened(data, kind) as image:
        return bytes(image.info.get("xmp", b""))


def _values(text: str, namespace: str, known: dict[str, _Reader]) -> dict[str, str]:
    """The known properties of a namespace, be they attributes or elements, checked."""
    found: dict[str, str] = {}
    for name, value in _written(text, namespace):
        if name in known and name not in found:
            with suppress(ValueError, ArithmeticError):
                found[name] = known[name](value)
    return found


def _written(text: str, namespace: str) -> list[tuple[str, str]]:
    """Names and texts of a namespace's properties, in their order.

    XML is not parsed: what an entity or a comment hides is not worth a parser of hostile files,
    and what is found is checked in any case.
    """
    bound = re.search(
        rf"xmlns:([\w.-]{{1,32}})\s{{0,8}}=\s{{0,8}}[\"']{re.escape(namespace)}", text
    )
    if bound is None:
        return []
    prefix = re.escape(bound[1])
    form = rf"\b{prefix}:(\w{{1,40}})\s{{0,8}}(?:=\s{{0,8}}[\"']|>)\s{{0,64}}([\w.+/-]{{1,40}})"
    return re.findall(form, text, re.ASCII)


def _fits(text: str, sphere: dict[str, str]) -> bool:
    """Whether the pixels' numbers were all readable, and the part lies within its whole."""
    written = {name for name, _ in _written(text, GPANO)} & _PIXELS
    if written - sphere.keys():
        return False
    number = {name: int(sphere[name]) for name in written}
    for side, edge in (("Width", "Left"), ("Height", "Top")):
        whole = number.get(f"FullPano{side}Pixels", MOST_PIXELS)
        shown = number.get(f"CroppedAreaImage{side}Pixels", 1)
        if number.get(f"CroppedArea{edge}Pixels", 0) + shown > whole:
            return False
    return True


def _degrees(least: int, most: int) -> _Reader:
    def read(text: str) -> str:
        over, _, under = text.partition("/")
        number = round(Decimal(over) / Decimal(under or 1), 4)
        if not least <= number <= most:
            raise ValueError(text)
        return f"{number.normalize() + 0:f}"

    return read


def _pixels(least: int) -> _Reader:
    def read(text: str) -> str:
        number = Decimal(text)
        if not least <= number <= MOST_PIXELS or number != int(number):
            raise ValueError(text)
        return str(int(number))

    return read


def _one_of(*words: str) -> _Reader:
    known = {word.lower(): word for word in words}

    def read(text: str) -> str:
        if text.lower() not in known:
            raise ValueError(text)
        return known[text.lower()]

    return read


_PROJECTION, _SHOWN_WIDTH = "ProjectionType", "CroppedAreaImageWidthPixels"
_PLACES = {f"CroppedArea{edge}Pixels": _pixels(0) for edge in ("Left", "Top")}
_SIZES = {
    f"{what}{side}Pixels": _pixels(1)
    for what in ("CroppedAreaImage", "FullPano")
    for side in ("Width", "Height")
}
_PIXELS = _PLACES.keys() | _SIZES.keys()
_SPHERE: dict[str, _Reader] = {
    **dict.fromkeys(("UsePanoramaViewer", "ExposureLockUsed"), _one_of("True", "False")),
    _PROJECTION: _one_of(*PROJECTIONS),
    **_SIZES,
    **_PLACES,
    **dict.fromkeys(("PoseHeadingDegrees", "InitialViewHeadingDegrees"), _degrees(-360, 360)),
    **dict.fromkeys(("PosePitchDegrees", "InitialViewPitchDegrees"), _degrees(-90, 90)),
    **dict.fromkeys(("PoseRollDegrees", "InitialViewRollDegrees"), _degrees(-180, 180)),
    **dict.fromkeys(("InitialHorizontalFOVDegrees", "InitialVerticalFOVDegrees"), _degrees(0, 360)),
    "InitialCameraDolly": _degrees(-1, 1),
    "SourcePhotosCount": _pixels(0),
}
