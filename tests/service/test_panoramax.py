"""Panoramax's own server code asks `/blur/`, and its own tag reader reads what comes back."""

import json
import subprocess
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from tests.panoramas import CROPPED, packet
from tests.parts import ROOT, picture_file
from tools.install_validators import FOLDER

PYTHON = FOLDER / "panoramax/bin/python"
ORIENTATION, CAPTURE, GPS = 0x0112, 0x8769, 0x8825

pytestmark = pytest.mark.validator(name="panoramax")


def photo(picture: bytes, orientation: int, xmp: dict[str, str]) -> bytes:
    """The picture as a camera of Panoramax's contributors stores it."""
    turn = {1: None, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    image = Image.open(BytesIO(picture))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010F], exif[0x0110] = "GoPro", "Max"
    exif.get_ifd(CAPTURE).update(
        {
            0x9003: "2024:05:17 12:34:56",
            0x9291: "250",
            0x9011: "+02:00",
            0x920A: IFDRational(17, 4),
            0xA405: 26,
        }
    )
    exif.get_ifd(GPS).update(
        {1: "N", 2: (48.0, 51.0, 30.24), 3: "E", 4: (2.0, 17.0, 40.12), 16: "T", 17: 271.25}
    )
    stored = image if turn is None else image.transpose(turn)
    more: dict[str, object] = {"xmp": packet(xmp)} if xmp else {}
    return picture_file(stored, "JPEG", exif=exif, quality=92, **more)


def blurred(client: httpx.Client, folder: Path, *pictures: bytes) -> list[dict[str, Any]]:
    """What the server makes of the pictures, and what the tag reader says of them."""
    if not PYTHON.exists():
        pytest.skip("Panoramax's packages are not there: make validators")
    files = [folder / f"{number}.jpg" for number in range(len(pictures))]
    for file, picture in zip(files, pictures, strict=True):
        file.write_bytes(picture)
    url = str(client.base_url).rstrip("/")
    command = [PYTHON, ROOT / "tests/panoramax_server.py", url, *files]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_their_server_takes_pictures_upright_with_all_tags_that_their_reader_reads(
    client: httpx.Client, zidane: bytes, tmp_path: Path
) -> None:
    spheres = [{}, CROPPED, {"ProjectionType": "equirectangular"}]
    kinds = [(orientation, xmp) for orientation in (1, 6, 8) for xmp in spheres]

    answers = blurred(client, tmp_path, *(photo(zidane, *kind) for kind in kinds))

    for (_, xmp), said in zip(kinds, answers, strict=True):
        assert (said["size"], said["orientation"]) == ([1280, 720], 1)
        assert said["after"] == said["before"]
        assert said["after"]["type"] == ("equirectangular" if xmp else "flat")
        assert (said["after"]["heading"], said["after"]["focal_length"]) == (271, 4.25)
        for annotation in said["annotations"]:
            left, top, right, bottom = annotation["shape"]
            assert 0 <= left < right <= 1280
            assert 0 <= top < bottom <= 720
        tags = [tag for one in said["annotations"] for tag in one["semantics"]]
        assert {"key": "blurline|redacted", "value": "face", "action": "add"} in tags


def test_pictures_of_reports_keep_their_tags(
    client: httpx.Client, data: Path, tmp_path: Path
) -> None:
    names = ("08-panorama/pano-cropped.jpg", "23-panoramax/portrait-o6.jpg")
    originals = [(data / "reports" / name).read_bytes() for name in names]

    for said in blurred(client, tmp_path, *originals):
        assert said["orientation"] == 1
        assert said["after"] == said["before"]
