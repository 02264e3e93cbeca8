"""Hostile files through the whole service: each is refused, fails alone, or becomes a result.

Names carry the requirement of OWASP ASVS 5.0 that a test shows.
"""

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from blurline.errors import PictureError
from blurline.imaging.header import Limits, read_header
from blurline.stack.stack import Stack
from tests.hostile import BOMBS, MEGABYTE, NO_PICTURES, ODDITIES, SCRIPT, bomb, png
from tests.parts import PATIENCE, Taking, ended, files_below, refusal

LIMITS = Limits(50_000_000, 100_000_000)
MOST_MEMORY = 3_000_000_000
"""Bytes of the worker, networks and all, which are compiled for the last eight sizes each."""

SPREAD = 25
"""Every so many-th file of the collection is sent in the ordinary suite."""


@pytest.fixture
def unharmed(stack: Stack) -> Iterator[None]:
    """The worker of the service is the same afterwards, and has not grown beyond all measure."""
    before = [child.pid for child in stack.workers]
    yield
    assert [child.pid for child in stack.workers] == before
    assert all(psutil.Process(pid).memory_info().rss < MOST_MEMORY for pid in before)
    assert psutil.Process(stack.api.pid).memory_info().rss < MOST_MEMORY


def outcome(client: httpx.Client, content: bytes, **options: str) -> str:
    """How the service takes it: the code of its refusal or failure, or `completed`.

    A result that is there can be read, and is of the size that the original has upright.
    """
    answer = client.post("/upload", files={"file": ("photo.jpg", content)}, data=options)
    if answer.status_code != 202:
        status, code = refusal(answer)
        assert 400 <= status < 500, answer.text
        return code
    job_id = answer.json()["job_id"]
    status_of_job = ended(client, job_id, PATIENCE)
    if status_of_job["status"] == "failed":
        code = str(status_of_job["error"]["code"])
        assert code in ("corrupt_image", "not_written"), status_of_job
        return code
    result = client.get(f"/result/{job_id}")
    assert result.headers["X-Content-Type-Options"] == "nosniff"
    with Image.open(BytesIO(result.content)) as image:
        image.load()
        turned = image.getexif().get(0x0112, 1) >= 5
        size = image.size[::-1] if turned else image.size
    assert size == read_header(content, LIMITS).upright_size
    return "completed"


@pytest.mark.parametrize("name", NO_PICTURES)
def test_v5_2_2_what_is_no_picture_is_refused_by_its_content(taking: Taking, name: str) -> None:
    for shown in ("photo.jpg", "photo.png", "photo.php"):
        files = {"file": (shown, NO_PICTURES[name], "image/jpeg")}
        answer = taking.client.post("/upload", files=files)
        assert refusal(answer)[0] in (400, 415)


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.usefixtures("unharmed")
def test_v5_2_3_a_small_file_does_not_become_a_large_one(client: httpx.Client, name: str) -> None:
    assert outcome(client, BOMBS[name]()) in (
        "completed",  # what is too much was left out
        "corrupt_image",
        "not_an_image",
        "too_many_bytes",
        "too_many_pixels",
        "unsupported_kind",
    )


@pytest.mark.parametrize("name", ODDITIES)
@pytest.mark.usefixtures("unharmed")
def test_v5_2_2_a_file_at_the_edge_ends_as_a_result_or_alone(
    client: httpx.Client, name: str
) -> None:
    # What the networks see of a long strip is the same of all kinds, so they look at it once.
    assert outcome(client, ODDITIES[name](), quality="fast") in (
        "completed",
        "corrupt_image",
        "not_an_image",
        "unsupported_kind",
    )


@pytest.mark.parametrize("name", ["JPEG and ZIP", "GIF and script", "PNG with a script as text"])
def test_v5_3_1_what_a_picture_carries_beside_it_is_not_served(
    client: httpx.Client, name: str
) -> None:
    content = ODDITIES[name]()
    assert SCRIPT in content
    job_id = client.post("/upload", files={"file": ("a.php", content)}).json()["job_id"]
    status = ended(client, job_id)
    result = client.get(f"/result/{job_id}")
    if status["status"] == "completed":
        assert SCRIPT not in result.content
        assert b"PK\x03\x04" not in result.content
        assert result.headers["Content-Type"].startswith("image/")
        assert result.headers["X-Content-Type-Options"] == "nosniff"
    else:
        assert refusal(result) == (409, "job_failed")


@pytest.mark.parametrize(
    ("content", "limits", "code"),
    [
        (png(300, 2, bomb(1)), Limits(10**6, 10**6, max_side=299), "too_many_pixels"),
        (png(2, 300, bomb(1)), Limits(10**6, 10**6, max_side=299), "too_many_pixels"),
        (png(300, 300, bomb(1)), Limits(10**6, 89_999), "too_many_pixels"),
        (BOMBS["JPEG of 1,000 scans"](), Limits(10**6, 10**6), "unsupported_kind"),
        (ODDITIES["JPEG of 100 scans"](), Limits(10**6, 10**6, max_scans=99), "unsupported_kind"),
    ],
)
def test_v5_2_6_a_picture_is_judged_by_its_header(
    content: bytes, limits: Limits, code: str
) -> None:
    with pytest.raises(PictureError) as caught:
        read_header(content, limits)
    assert caught.value.code == code


def test_a_picture_at_its_limits_is_taken() -> None:
    data = png(300, 300, zlib.compress(bytes(300 * 301)))
    assert read_header(data, Limits(len(data), 90_000, max_side=300)).width == 300
    scans = ODDITIES["JPEG of 100 scans"]()
    assert read_header(scans, Limits(len(scans), 10**6, max_scans=100)).width == 64


@pytest.mark.parametrize(
    "name",
    ["PNG metadata of 12 MB", "JPEG of 12 MB of EXIF", "TIFF of 60,000 tags of 1 MB"],
)
def test_v5_2_3_metadata_have_a_limit_of_their_own(name: str) -> None:
    with pytest.raises(PictureError) as caught:
        read_header(BOMBS[name](), LIMITS)
    assert caught.value.code == "too_many_bytes"


def test_what_hangs_on_to_a_jpeg_is_no_scan_of_it() -> None:
    data = ODDITIES["1 x 65,500 JPEG"]() + b"\xff\xda" * 1000
    assert read_header(data, LIMITS).height == 65_500


def _send_all(client: httpx.Client, files: list[Path]) -> None:
    outcomes = [outcome(client, path.read_bytes()) for path in files]
    assert "completed" in outcomes
    assert {"corrupt_image", "not_an_image"} & set(outcomes)


@pytest.mark.usefixtures("unharmed")
def test_v5_2_2_a_spread_of_broken_pictures_harms_nobody(client: httpx.Client, data: Path) -> None:
    _send_all(client, files_below(data / "hostile")[::SPREAD])


@pytest.mark.long
@pytest.mark.usefixtures("unharmed")
def test_v5_2_2_all_broken_pictures_harm_nobody(client: httpx.Client, data: Path) -> None:
    _send_all(client, files_below(data / "hostile"))


@pytest.mark.long
@pytest.mark.usefixtures("unharmed")
def test_v5_2_3_a_hundred_million_pixels_of_nothing_are_borne(client: httpx.Client) -> None:
    samples = zlib.compress(bytes(10_000 * 1251))
    assert len(samples) < MEGABYTE
    assert outcome(client, png(10_000, 10_000, samples, depth=1)) == "completed"
