"""A picture that ends its reader ends the job it belongs to, and no other."""

import resource
import subprocess
import sys
import zlib

import pytest

from blurline.errors import PictureError
from blurline.imaging import trial
from blurline.imaging.decode import HALF, Pixels, decode
from blurline.imaging.header import Header, Limits
from blurline.imaging.kind import Kind
from blurline.imaging.trial import check_harmless
from tests.hostile import ODDITIES, png
from tests.parts import ROOT, picture_file
from tests.telltales import BASE

LIMITS = Limits(50_000_000, 100_000_000)


@pytest.mark.parametrize("kind", [Kind.JPEG, Kind.PNG])
def test_an_ordinary_picture_is_harmless(kind: Kind) -> None:
    check_harmless(picture_file(BASE, kind.upper()), LIMITS)


@pytest.mark.parametrize("name", ["PNG cut after 30%", "JPEG cut after 97%"])
def test_a_picture_that_is_refused_is_harmless_too(name: str) -> None:
    check_harmless(ODDITIES[name](), LIMITS)


def empty_handed() -> int:
    """Bytes of addresses that a trial takes before it has read anything."""
    script = "import blurline.imaging.trial, pathlib; "
    script += "print(pathlib.Path('/proc/self/statm').read_text().split()[0])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, cwd=ROOT)
    return int(done.stdout) * resource.getpagesize()


def test_v5_2_3_a_picture_that_ends_its_reader_for_lack_of_memory_is_told() -> None:
    memory = empty_handed() + (150 << 20)
    check_harmless(picture_file(BASE, "PNG"), LIMITS, memory=memory)
    large = png(9_000, 9_000, zlib.compress(bytes(9_000 * 9_001)))
    with pytest.raises(PictureError) as caught:
        check_harmless(large, LIMITS, memory=memory)
    assert caught.value.code == "corrupt_image"


def test_a_jpeg_is_read_whole_and_at_half_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def noted(data: bytes, header: Header, *, reduction: int = 1) -> Pixels:
        read.append(reduction)
        return decode(data, header, reduction=reduction)

    monkeypatch.setattr(trial, "decode", noted)
    trial.read_like_a_worker(picture_file(BASE, "JPEG"), LIMITS)
    assert read == [1, HALF]


def test_a_picture_that_takes_too_long_is_told() -> None:
    with pytest.raises(PictureError) as caught:
        check_harmless(picture_file(BASE, "JPEG"), LIMITS, seconds=0.001)
    assert caught.value.code == "corrupt_image"
