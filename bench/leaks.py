"""`make leaks`: what a JPEG carries beside its pixels, and who lets it through.

A face is cut out of a sample photo, and the photo is written once for each place of a file where
such a picture, a text or a position may lie. blurline and deface redact each file, and whether what
was planted is still there, byte for byte, is looked up in what they write. deface is run by its own
command line where its package is installed beside blurline, as by
`pip install --no-deps deface==1.5.0 imageio imageio-ffmpeg scikit-image scipy lazy-loader tqdm`.
"""

import base64
import importlib.util
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from blurline.cli.demo import SAMPLES
from blurline.imaging.header import limits_of
from blurline.imaging.metadata import MetadataPolicy
from blurline.models.catalogue import find
from blurline.models.inference import inference
from blurline.models.load import load_detectors
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import Style
from blurline.settings import Settings, load_settings
from blurline.stages.frame import Options
from blurline.stages.options import values_of
from blurline.treatment.redaction import RedactionTreatment

PIPELINE = "blur"
OPTIONS = Options(("face",), Style.MOSAIC)
QUALITY = 90
THUMBNAIL = 96
"""Pixels of the planted face's longer side."""

POSITION = struct.pack("<6I", 48, 1, 51, 1, 3023, 100)
"""48 degrees, 51 minutes and 30.23 seconds as RATIONALs (EXIF 2.32, 4.6.6)."""

NOT_RUN = "not installed"

Redact = Callable[[bytes], bytes]
"""From a file to the redacted file."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """A JPEG with something beside its pixels, which can be told by the bytes of `trace`."""

    name: str
    file: bytes
    trace: bytes


def carriers(photo: Image.Image, face: Image.Image) -> list[Carrier]:
    """The photo with the face, a text or a position in each of several places."""
    plain, thumbnail = _jpeg(photo), _jpeg(face)
    in_exif = [
        ("EXIF thumbnail", _exif_thumbnail(thumbnail), thumbnail),
        ("EXIF maker's note with a thumbnail", _maker_note(thumbnail), thumbnail),
        ("EXIF position", _position(), POSITION),
    ]
    inside = base64.b64encode(thumbnail)
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><xmpGImg:image>%s</xmpGImg:image></x:xmpmeta>"
    text = b"Seen by Jane Roe"
    elsewhere = [
        ("JFXX thumbnail", 0xE0, b"JFXX\0\x10" + thumbnail, thumbnail),
        ("Photoshop's thumbnail (APP13)", 0xED, _resource(thumbnail), thumbnail),
        ("XMP with a thumbnail", 0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp % inside, inside),
        ("comment", 0xFE, text, text),
    ]
    # With --keep-metadata, deface 1.5.0 ends with an error where there is no EXIF to keep.
    make = _make()
    photographed = _jpeg(photo, exif=make)
    twice = _jpeg(photo, "MPO", save_all=True, append_images=[face], exif=make)
    return [
        *(Carrier(name, _with(plain, 0xE1, part), trace) for name, part, trace in in_exif),
        *(
            Carrier(name, _with(photographed, marker, part), trace)
            for name, marker, part, trace in elsewhere
        ),
        Carrier("second picture (MPF)", twice, twice[-len(thumbnail) // 2 :]),
        Carrier("bytes after the end", photographed + thumbnail, thumbnail),
    ]


def _jpeg(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, quality=QUALITY, **options)
    return file.getvalue()


def _with(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """The file with one more segment right behind JFIF's, which has to be the first."""
    end = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:end] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[end:]


def _exif_thumbnail(thumbnail: bytes) -> bytes:
    """A second directory that points to a JPEG behind it (EXIF 2.32, 4.5.5)."""
    first = struct.pack("<HHHIII", 1, 0x0112, 3, 1, 1, 26)
    rows = [(0x0103, 3, 1, 6), (0x0201, 4, 1, 68), (0x0202, 4, 1, len(thumbnail))]
    second = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHII", *row) for row in rows)
    return b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + bytes(4) + thumbnail


def _make() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Acme"
    return exif.tobytes()


def _maker_note(thumbnail: bytes) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x927C] = thumbnail
    return exif.tobytes()


def _position() -> bytes:
    exif = Image.Exif()
    exif.endian = "<"  # as blurline writes it, so that both spell the position alike
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 30.23), 3: "E", 4: (2.0, 17.0, 40.0)})
    return exif.tobytes()


def _resource(thumbnail: bytes) -> bytes:
    """Photoshop's image resource 1036 (Adobe Photoshop File Formats, "Thumbnail resource")."""
    content = struct.pack(">6I2H", 1, 1, 1, 4, 3, len(thumbnail), 24, 1) + thumbnail
    head = b"Photoshop 3.0\x008BIM" + struct.pack(">HHI", 1036, 0, len(content))
    return head + content + bytes(len(content) % 2)


def blurline(treatment: RedactionTreatment, settings: Settings, policy: MetadataPolicy) -> Redact:
    """blurline's own treatment under that policy."""
    pipeline = pipelines(settings)[PIPELINE]
    options = replace(OPTIONS, metadata=policy)
    return lambda data: treatment.redact(data, pipeline, options).picture


def deface(*flags: str) -> Redact:
    """deface's command line with those flags, for one file at a time."""

    def redact(data: bytes) -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "photo.jpg"), Path(folder, "redacted.jpg")
            source.write_bytes(data)
            command = [sys.executable, "-m", "deface.deface", str(source), "-o", str(target)]
            subprocess.run([*command, *flags], check=True, capture_output=True)
            return target.read_bytes()

    return redact


def table(found: Sequence[Carrier], tools: dict[str, Redact | None]) -> str:
    """The Markdown table: for each carrier and tool whether the trace is still there."""
    lines = [f"| what is planted | {' | '.join(tools)} |", "|---" * (len(tools) + 1) + "|"]
    for carrier in found:
        cells = [_cell(carrier, redact) for redact in tools.values()]
        lines.append(f"| {carrier.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(carrier: Carrier, redact: Redact | None) -> str:
    if redact is None:
        return NOT_RUN
    try:
        written = redact(carrier.file)
    except subprocess.CalledProcessError:
        return "fails"
    return "**still there**" if carrier.trace in written else "gone"


def main() -> None:
    """Print the table."""
    settings = load_settings()
    names = sorted(pipelines(settings)[PIPELINE].models(values_of(OPTIONS)))
    for name in names:
        find(name).source.pull(settings.model_dir)
    treatment = RedactionTreatment(
        load_detectors(names, inference(settings)),
        limits_of(settings),
        settings.jpeg_quality,
        second_looks=1.0,
    )
    photo = Image.open(SAMPLES[1].pull(settings.model_dir.parent / "samples"))
    planted = carriers(photo, _face(photo, treatment, settings))
    if missing := [carrier.name for carrier in planted if carrier.trace not in carrier.file]:
        raise RuntimeError(f"nothing is planted in: {', '.join(missing)}")
    there = importlib.util.find_spec("deface") is not None
    tools = {
        "blurline, `minimal`": blurline(treatment, settings, MetadataPolicy.MINIMAL),
        "blurline, `keep`": blurline(treatment, settings, MetadataPolicy.KEEP),
        "deface": deface() if there else None,
        "deface `--keep-metadata`": deface("--keep-metadata") if there else None,
    }
    print(table(planted, tools))


def _face(photo: Image.Image, treatment: RedactionTreatment, settings: Settings) -> Image.Image:
    """The largest face that is found in the photo, small, as a camera's thumbnail shows it."""
    treated = treatment.redact(_jpeg(photo), pipelines(settings)[PIPELINE], OPTIONS)
    boxes = [redaction.box for redaction in treated.frame.redactions or ()]
    face = photo.crop(max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1])))
    face.thumbnail((THUMBNAIL, THUMBNAIL))
    return face


if __name__ == "__main__":
    main()
