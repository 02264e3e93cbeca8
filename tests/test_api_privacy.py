"""What the service says of its pictures and what it forgets: certificates, deletion, `/blur/`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from PIL import Image, ImageOps

from blurline.audit import AuditTrail, DeletionReceipt, read_receipt
from blurline.certificate.certificate import verify
from blurline.certificate.signing import Finding, load_public_key, public_key_place
from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detectors
from blurline.queue.connection import connect
from blurline.queue.jobqueue import JobQueue
from blurline.settings import load_settings
from blurline.stack.stack import Stack
from blurline.stages.frame import Frame, Options
from blurline.stages.pipeline import Target
from blurline.storage import keys
from blurline.storage.objects import open_store
from tests.originals import original_of, vault_in
from tests.parts import (
    PATIENCE,
    Taking,
    drawing,
    ended,
    files_below,
    image_worker,
    job_spec,
    picture_file,
    refusal,
    runner,
    serving,
    settings_for,
    upload,
)
from tests.telltales import MARKER, PICTURE, embedded_pictures, exif_block, srgb, traces

Start = Callable[..., httpx.Client]

NOBODY = "0d9f9f0e-6c0f-4a5e-9d0c-2f6f0f3f7b11"
"""An id that nothing has."""

BAD_IDS = ["x", "%2e%2e", "..%2f..%2fmetadata", "%00", "*", "a" * 5000, f"{NOBODY}.json"]

FACES = np.array([[918, 96, 1052, 276], [552, 270, 658, 416]])
"""Where the two faces of `zidane` are."""

ORIENTATION, MAKE, CAPTURE, GPS = 0x0112, 0x010F, 0x8769, 0x8825
DATE_TIME_ORIGINAL, LATITUDE = 0x9003, 2

ANIMATED = {"GIF": "a.gif", "PNG": "a.png", "WEBP": "a.webp"}


@dataclass(frozen=True)
class Place:
    """The data folder of a service, and what can be told from it."""

    folder: Path

    @property
    def key(self) -> Ed25519PublicKey:
        return load_public_key(public_key_place(self.folder))

    @property
    def trail(self) -> AuditTrail:
        return AuditTrail(open_store(load_settings(data_dir=self.folder)))

    def names(self) -> set[str]:
        """All objects of the store."""
        store = self.folder / "store"
        return {path.relative_to(store).as_posix() for path in files_below(store)}

    def naming(self, *words: bytes) -> set[str]:
        """The objects whose name or content has one of the words, but for the audit trail's."""
        store = self.folder / "store"
        found = {name: name.encode() + (store / name).read_bytes() for name in self.names()}
        return {
            name
            for name, content in found.items()
            if not name.startswith("audit/") and any(word in content for word in words)
        }

    def receipt(self, answer: httpx.Response) -> DeletionReceipt:
        """The receipt that a deletion was answered with, proved by the service's key."""
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"] == "application/json"
        return read_receipt(answer.content, self.key)


@pytest.fixture(scope="module")
def place(stack: Stack, small_jpeg: bytes) -> Place:
    """The data folder of the service that runs."""
    with httpx.Client(base_url=stack.url, timeout=PATIENCE) as client:
        results = ended(client, upload(client, small_jpeg))["results"]
    return Place(Path(unquote(urlsplit(results["original_image_path"]).path)).parents[3])


@pytest.fixture
def idle_place(tmp_path: Path) -> Place:
    """The data folder of the services that `idle_client` starts."""
    return Place(tmp_path)


def shown(picture: bytes) -> Pixels:
    """The pixels as a viewer shows them."""
    return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(picture))).convert("RGB"))


# Certificates


def test_a_result_is_proved_by_its_certificate(
    client: httpx.Client, place: Place, zidane: bytes
) -> None:
    job_id = upload(client, zidane, targets="face", style="solid", metadata="none")
    results = ended(client, job_id)["results"]

    answer = client.get(f"/certificate/{job_id}")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    picture = client.get(f"/result/{job_id}").content
    verdict = verify(picture, answer.content, place.key)
    assert verdict.finding is Finding.VALID
    said = verdict.certificate
    assert said is not None
    assert said.job_id == job_id
    assert said.input_sha256 == sha256(zidane).hexdigest()
    assert said.output_sha256 == sha256(picture).hexdigest()
    assert (said.style, said.metadata_policy) == ("solid", "none")
    told = results["blur_metadata"]
    assert (said.path_taken, said.second_look) == (told["path"], told["second_look"])
    assert len(said.regions) >= 2
    boxes = [list(region.box) for region in said.regions]
    assert boxes == [region["box"] for region in told["regions"]]
    (model,) = said.models
    assert model.thresholds.keys() == {"face"}


def test_a_certificate_proves_no_other_picture(
    client: httpx.Client, place: Place, zidane: bytes
) -> None:
    job_id = upload(client, zidane)
    ended(client, job_id)

    certificate = client.get(f"/certificate/{job_id}").content

    assert verify(zidane, certificate, place.key).finding is Finding.ALTERED


@pytest.mark.parametrize("job_id", [NOBODY, *BAD_IDS])
def test_the_certificate_of_an_unknown_job_is_answered_404(
    refusing: httpx.Client, job_id: str
) -> None:
    assert refusal(refusing.get(f"/certificate/{job_id}")) == (404, "not_found")


def test_a_certificate_that_is_not_ready_is_answered_409(taking: Taking, small_jpeg: bytes) -> None:
    job_id = upload(taking.client, small_jpeg)

    assert refusal(taking.client.get(f"/certificate/{job_id}")) == (409, "not_ready")


def test_a_failed_job_has_no_certificate(client: httpx.Client, bus: bytes) -> None:
    job_id = upload(client, bus[: len(bus) // 2])
    assert ended(client, job_id)["status"] == "failed"

    assert refusal(client.get(f"/certificate/{job_id}")) == (409, "job_failed")


# Deletion


def test_of_a_deleted_job_only_a_mark_is_left(
    client: httpx.Client, place: Place, bus: bytes
) -> None:
    # Of a size that no other test sends, so that no other job has the same bytes.
    photo = picture_file(Image.open(BytesIO(bus)).resize((404, 539)), "JPEG")
    name = f"holiday-{uuid4()}.jpg"
    job_id = upload(client, photo, name, metadata="keep")
    ended(client, job_id)
    picture = client.get(f"/result/{job_id}").content
    words = (job_id.encode(), name.encode(), photo[-64:], picture[-64:])
    assert len(place.naming(*words)) == 5

    receipt = place.receipt(client.delete(f"/jobs/{job_id}"))

    assert receipt.job_id == job_id
    assert receipt.removed == ("original", "result", "certificate", "record", "queue entry")
    assert place.naming(*words) == {keys.record(job_id)}
    assert original_of(place.folder, job_id) is None
    mark = json.loads((place.folder / "store" / keys.record(job_id)).read_bytes())
    assert mark == {"deleted": True}


def test_a_deleted_job_is_unknown(client: httpx.Client, small_jpeg: bytes) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)

    client.delete(f"/jobs/{job_id}")

    for path in ("status", "result", "certificate"):
        assert refusal(client.get(f"/{path}/{job_id}")) == (404, "not_found")


def test_a_failed_job_is_deleted_with_its_original(
    client: httpx.Client, place: Place, bus: bytes
) -> None:
    job_id = upload(client, bus[: len(bus) // 2])
    ended(client, job_id)

    receipt = place.receipt(client.delete(f"/jobs/{job_id}"))

    assert receipt.removed == ("original", "record", "queue entry")
    assert place.naming(job_id.encode()) == {keys.record(job_id)}


def test_a_job_that_redis_has_forgotten_is_deleted_too(
    client: httpx.Client, place: Place, forget: Callable[[str], None], small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)
    forget(job_id)

    receipt = place.receipt(client.delete(f"/jobs/{job_id}"))

    assert receipt.removed == ("original", "result", "certificate", "record")
    assert client.get(f"/status/{job_id}").status_code == 404


def test_what_is_deleted_twice_was_not_there_the_second_time(
    client: httpx.Client, place: Place, small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)
    client.delete(f"/jobs/{job_id}")

    receipt = place.receipt(client.delete(f"/jobs/{job_id.upper()}"))

    assert (receipt.job_id, receipt.removed) == (job_id, ())
    assert place.naming(job_id.encode()) == {keys.record(job_id)}


def test_a_receipt_for_an_unknown_job_says_that_nothing_was_removed(
    client: httpx.Client, place: Place
) -> None:
    receipt = place.receipt(client.delete(f"/jobs/{NOBODY}"))

    assert (receipt.job_id, receipt.removed) == (NOBODY, ())
    assert place.naming(NOBODY.encode()) == set()


@pytest.mark.parametrize("job_id", BAD_IDS)
def test_what_is_no_id_is_not_deleted(refusing: httpx.Client, job_id: str) -> None:
    assert refusal(refusing.delete(f"/jobs/{job_id}")) == (404, "not_found")


def test_a_job_that_waits_is_taken_out_of_the_queue(taking: Taking, small_jpeg: bytes) -> None:
    place = Place(taking.store.parent)
    _, before = taking.holds()
    job_id = upload(taking.client, small_jpeg)

    receipt = place.receipt(taking.client.delete(f"/jobs/{job_id}"))

    assert receipt.removed == ("original", "queue entry")
    assert taking.holds()[1] == before
    assert list(taking.redis.scan_iter(f"*{job_id}*")) == []
    assert place.naming(job_id.encode()) == {keys.record(job_id)}
    assert taking.client.get(f"/status/{job_id}").status_code == 404


def test_a_job_that_is_deleted_while_it_runs_leaves_no_result(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings, place = settings_for(redis_url, tmp_path), Place(tmp_path)
    spec = job_spec(pipeline="test", targets=())
    vault_in(tmp_path).put(spec.job_id, spec.kind, small_jpeg)
    JobQueue(connect(redis_url), settings).submit([spec])
    receipts: list[DeletionReceipt] = []

    with serving(settings) as client:

        class Delete:
            """A stage that has its own job deleted."""

            name, targets = "delete", MappingProxyType[str, Target]({})
            models = required_models = frozenset[str]()

            def run(self, frame: Frame, options: Options, detectors: Detectors) -> Frame:
                receipts.append(place.receipt(client.delete(f"/jobs/{spec.job_id}")))
                return frame

        with image_worker(settings, runner(settings, Delete())) as worker:
            worker.work(max_jobs=1)

        assert [receipt.removed for receipt in receipts] == [("original", "queue entry")]
        assert place.naming(spec.job_id.encode()) == {keys.record(spec.job_id)}
        assert refusal(client.get(f"/status/{spec.job_id}")) == (404, "not_found")


def test_a_deletion_is_not_confirmed_while_redis_is_away(tmp_path: Path) -> None:
    with serving(settings_for(f"unix://{tmp_path}/nobody.sock", tmp_path)) as client:
        answer = client.delete(f"/jobs/{NOBODY}")

    assert refusal(answer) == (503, "queue_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


def test_the_audit_trail_holds_every_receipt_and_is_whole(
    client: httpx.Client, place: Place, small_jpeg: bytes
) -> None:
    job_id = upload(client, small_jpeg)
    ended(client, job_id)

    receipts = [place.receipt(client.delete(f"/jobs/{job_id}")) for _ in range(2)]

    inspection = place.trail.inspect([receipt.audit for receipt in receipts])
    assert inspection.whole
    assert inspection.lines >= 6
    assert not place.trail.inspect(["0" * 64]).whole
    events = [line for line in place.trail.lines() if line["job_id"] == job_id]
    assert [(line["event"], line["outcome"]) for line in events] == [
        ("original_deleted", "done"),
        ("result_deleted", "done"),
        ("metadata_deleted", "done"),
        ("original_deleted", "absent"),
        ("result_deleted", "absent"),
        ("metadata_deleted", "absent"),
    ]
    assert {line["actor"] for line in events} == {"api"}


# POST /blur/


def blur(client: httpx.Client, *pictures: bytes, field: str = "picture") -> httpx.Response:
    files = [(field, ("street.jpg", picture, "image/jpeg")) for picture in pictures]
    return client.post("/blur/", files=files)


def test_a_picture_is_blurred_while_its_sender_waits(client: httpx.Client, zidane: bytes) -> None:
    answer = blur(client, zidane)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(BytesIO(answer.content)).format == "JPEG"
    before, after = shown(zidane).astype(int), shown(answer.content).astype(int)
    assert after.shape == before.shape
    for left, top, right, bottom in FACES:
        face = (slice(top, bottom), slice(left, right))
        assert np.abs(after[face] - before[face]).mean() > 10
        # Cells of one colour: a pixel is that of its neighbour nearly everywhere.
        assert (
            np.abs(np.diff(after[face], axis=1)).mean()
            < np.abs(np.diff(before[face], axis=1)).mean()
        )
    assert (after == before).all(axis=2).mean() > 0.8


def test_a_blurred_picture_keeps_time_and_place_and_loses_the_rest(
    client: httpx.Client, zidane: bytes
) -> None:
    picture = picture_file(Image.open(BytesIO(zidane)), "JPEG", exif=exif_block())
    assert traces(picture)

    answer = blur(client, picture)

    exif = Image.open(BytesIO(answer.content)).getexif()
    assert exif.get_ifd(CAPTURE)[DATE_TIME_ORIGINAL] == "2024:05:17 12:34:56"
    assert [float(part) for part in exif.get_ifd(GPS)[LATITUDE]] == [48, 51, 30.24]
    assert traces(answer.content) == []
    assert embedded_pictures(answer.content) == 0
    assert MARKER not in answer.content
    assert PICTURE not in answer.content


def test_of_a_picture_blurred_directly_only_the_record_stays(
    client: httpx.Client, place: Place, bus: bytes
) -> None:
    before = place.names()

    assert blur(client, bus).status_code == 200

    (record,) = place.names() - before
    assert record == keys.record(Path(record).stem)
    assert client.get(f"/status/{Path(record).stem}").json()["status"] == "completed"
    assert client.get(f"/result/{Path(record).stem}").status_code == 404


def test_a_picture_that_fails_directly_is_not_kept(
    client: httpx.Client, place: Place, bus: bytes
) -> None:
    before = place.names()

    assert refusal(blur(client, bus[: len(bus) // 2])) == (409, "job_failed")

    (record,) = place.names() - before
    assert record == keys.record(Path(record).stem)


def test_a_picture_that_nobody_takes_in_time_is_answered_503_and_forgotten(
    idle_client: Start, idle_place: Place, small_jpeg: bytes
) -> None:
    client = idle_client(blur_wait=0.1)

    answer = blur(client, small_jpeg)

    assert refusal(answer) == (503, "busy")
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/queue-status").json()["depth"] == 0
    left = {name for name in idle_place.names() if not name.startswith("audit/")}
    (mark,) = left
    assert client.get(f"/status/{Path(mark).stem}").status_code == 404


def test_a_full_queue_is_told_before_anything_is_kept(
    idle_client: Start, idle_place: Place, small_jpeg: bytes
) -> None:
    client = idle_client(max_queue_size=1)
    upload(client, small_jpeg)
    before = idle_place.names()

    assert refusal(blur(client, small_jpeg)) == (429, "queue_full")
    assert idle_place.names() == before


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"plain words", 400, "not_an_image"),
        (b"", 400, "not_an_image"),
        (b"\xff\xd8\xff", 400, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_kind"),
    ],
)
def test_a_bad_picture_is_refused_in_the_one_shape(
    refusing: httpx.Client, content: bytes, status: int, code: str
) -> None:
    assert refusal(blur(refusing, content)) == (status, code)


def test_a_picture_too_large_to_be_blurred_is_answered_413(
    idle_client: Start, idle_place: Place, small_jpeg: bytes
) -> None:
    client = idle_client(max_image_bytes=len(small_jpeg))

    assert refusal(blur(client, small_jpeg + b"\0")) == (413, "too_many_bytes")
    assert idle_place.names() == set()


def test_two_pictures_at_once_are_answered_413(refusing: httpx.Client, small_jpeg: bytes) -> None:
    assert refusal(blur(refusing, small_jpeg, small_jpeg)) == (413, "too_many_files")


def test_without_a_picture_there_is_nothing_to_blur(
    refusing: httpx.Client, small_jpeg: bytes
) -> None:
    assert refusal(blur(refusing, small_jpeg, field="file")) == (400, "no_file")
    assert refusal(refusing.post("/blur/")) == (400, "no_file")
    assert refusal(refusing.post("/blur/", data={"picture": "text"})) == (400, "no_file")


# Metadata


def telling() -> bytes:
    """A picture that lies turned and tells camera, time, place, colours and more."""
    exif = Image.Exif()
    exif[ORIENTATION], exif[MAKE] = 6, "Acme"
    exif[0x010E] = MARKER.decode()
    exif.get_ifd(CAPTURE)[DATE_TIME_ORIGINAL] = "2024:05:17 12:34:56"
    exif.get_ifd(GPS).update({1: "N", LATITUDE: (48.0, 51.0, 30.25)})
    picture = Image.fromarray(drawing())
    return picture_file(picture, "JPEG", exif=exif, icc_profile=srgb(), comment=MARKER)


def told(picture: bytes) -> dict[str, Any]:
    """What the file says beside its pixels."""
    image = Image.open(BytesIO(picture))
    exif = image.getexif()
    found = {
        "orientation": exif.get(ORIENTATION),
        "make": exif.get(MAKE),
        "time": exif.get_ifd(CAPTURE).get(DATE_TIME_ORIGINAL),
        "latitude": exif.get_ifd(GPS).get(LATITUDE),
        "profile": "icc_profile" in image.info or None,
    }
    return {name: value for name, value in found.items() if value is not None}


MINIMAL = {"orientation": 6, "profile": True}
ALL = {
    **MINIMAL,
    "make": "Acme",
    "time": "2024:05:17 12:34:56",
    "latitude": (48.0, 51.0, 30.25),
}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"metadata": "keep"}, ALL),
        ({"metadata": "MINIMAL"}, MINIMAL),
        ({"metadata": "none"}, {}),
        ({}, MINIMAL),
    ],
    ids=lambda value: value.get("metadata", "") if len(value) < 2 else "",
)
def test_a_result_tells_what_its_sender_allows(
    client: httpx.Client, options: dict[str, str], left: dict[str, Any]
) -> None:
    picture = telling()
    assert told(picture) == ALL
    job_id = upload(client, picture, **options)
    status = ended(client, job_id)

    result = client.get(f"/result/{job_id}").content

    assert told(result) == left
    assert traces(result) == []
    assert status["results"]["blur_metadata"]["metadata"] == (
        options.get("metadata", "minimal").lower()
    )
    assert shown(result).shape == shown(picture).shape == (320, 240, 3)
    assert np.abs(shown(result).astype(int) - shown(picture)).mean() < 3


# Animations


@pytest.fixture(scope="module")
def animations() -> dict[str, bytes]:
    """An animation of each kind, whose second picture is black."""
    first, second = Image.fromarray(drawing()), Image.new("RGB", (320, 240))
    return {
        kind: picture_file(first, kind, save_all=True, append_images=[second]) for kind in ANIMATED
    }


@pytest.mark.parametrize("kind", ANIMATED)
def test_an_animation_is_answered_415(
    refusing: httpx.Client, animations: dict[str, bytes], kind: str
) -> None:
    answer = refusing.post("/upload", files={"file": (ANIMATED[kind], animations[kind])})

    assert refusal(answer) == (415, "animation")
    assert refusal(blur(refusing, animations[kind])) == (415, "animation")


def test_an_animation_does_not_sink_its_batch(
    idle_client: Start, animations: dict[str, bytes], small_jpeg: bytes
) -> None:
    pictures = [small_jpeg, *animations.values(), small_jpeg]
    files = [("files", (f"{number}.jpg", picture)) for number, picture in enumerate(pictures)]

    answer = idle_client().post("/batch-upload", files=files)

    assert answer.status_code == 202
    codes = [job["error"] and job["error"]["code"] for job in answer.json()["jobs"]]
    assert codes == [None, "animation", "animation", "animation", None]


# Failures


def test_a_picture_that_goes_well_is_not_obscured(client: httpx.Client, zidane: bytes) -> None:
    job_id = upload(client, zidane, targets="face", on_failure="Obscure")

    results = ended(client, job_id)["results"]

    assert results["blur_metadata"]["on_failure"] == "obscure"
    assert "frame" not in results["blur_metadata"]["counts"]


def test_a_file_without_pixels_fails_even_if_it_may_be_obscured(
    client: httpx.Client, bus: bytes
) -> None:
    status = ended(client, upload(client, bus[: len(bus) // 2], on_failure="obscure"))

    assert (status["status"], status["error"]["code"]) == ("failed", "corrupt_image")


@pytest.mark.parametrize("words", [{"on_failure": "ignore"}, {"metadata": "some"}])
def test_an_unknown_word_is_answered_422(
    refusing: httpx.Client, small_jpeg: bytes, words: dict[str, str]
) -> None:
    answer = refusing.post("/upload", files={"file": ("a.jpg", small_jpeg)}, data=words)

    assert refusal(answer) == (422, "bad_option")
