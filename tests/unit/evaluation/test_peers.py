"""Peers run as they come, and are measured like the stage."""

from pathlib import Path

import numpy as np
import pytest

from blurline.errors import OptionError
from blurline.evaluation.coverage import COVERED, covered_shares
from blurline.evaluation.peers import PLATE_NETWORK, Peer, deface_mask, load_peers, sources
from blurline.geometry import Boxes
from blurline.imaging.decode import Pixels, decode
from blurline.imaging.header import Limits, read_header
from blurline.models.catalogue import find
from blurline.models.load import Inference
from blurline.settings import load_settings
from tests.labelled import FACES
from tests.parts import drawing


@pytest.fixture(scope="module")
def inference() -> Inference:
    settings = Inference(load_settings().model_dir, threads=1)
    for source in sources():
        source.pull(settings.model_dir)
    return settings


@pytest.fixture(scope="module")
def photo(zidane: bytes) -> Pixels:
    return decode(zidane, read_header(zidane, Limits(10_000_000, 10_000_000)))


@pytest.fixture(scope="module")
def peers(inference: Inference) -> dict[str, Peer]:
    loaded = load_peers(["face"], inference)
    return {peer.name: peer for peer in loaded if isinstance(peer, Peer)}


def box(*sides: float) -> Boxes:
    return np.array([sides], np.float32)


def test_the_peers_for_faces_are_these(peers: dict[str, Peer]) -> None:
    assert list(peers) == ["deface 0.2", "deface 0.1", "YuNet 0.9", "YuNet 0.6", "YuNet 0.1"]


@pytest.mark.parametrize("name", ["deface 0.2", "deface 0.1", "YuNet 0.1"])
def test_a_peer_finds_large_faces(peers: dict[str, Peer], photo: Pixels, name: str) -> None:
    before = photo.copy()

    found = peers[name].redact(photo, ["face"])

    assert found.regions["face"] >= 2
    assert found.masks["face"].shape == photo.shape[:2]
    assert (covered_shares(np.array(FACES, np.float32), found.masks["face"]) > COVERED / 2).all()
    assert (photo == before).all()


def test_a_peer_takes_pictures_of_any_size_one_after_the_other(peers: dict[str, Peer]) -> None:
    for peer in peers.values():
        for width, height in ((320, 240), (101, 333)):
            found = peer.redact(drawing(width, height), ["face"])
            assert found.masks["face"].shape == (height, width)


def test_deface_blurs_an_ellipse_that_reaches_over_the_box() -> None:
    mask = deface_mask(box(40, 60, 60, 100), 200, 100)

    rows, columns = np.nonzero(mask)
    # The box grows by .3 of its sides; an ellipse has no pixel on the first row and column.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (35, 65, 49, 111)
    assert mask[80, 50]
    assert not mask[52, 37]
    assert mask.sum() == pytest.approx(np.pi * 16 * 32, rel=0.02)


@pytest.mark.parametrize(
    "sides", [(0, 0, 1, 1), (99, 199, 100, 200), (30, 40, 30, 90), (-50, -50, -20, -10)]
)
def test_deface_blurs_nothing_of_a_face_without_area(sides: tuple[float, ...]) -> None:
    assert not deface_mask(box(*sides), 200, 100).any()


def test_a_missing_plate_network_is_said_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=f"blurline models pull {PLATE_NETWORK}"):
        load_peers(["license_plate"], Inference(tmp_path, threads=1))


def test_the_plate_network_is_measured_at_two_sizes_and_two_thresholds(
    inference: Inference, photo: Pixels
) -> None:
    if not find(PLATE_NETWORK).source.is_here(inference.model_dir):
        pytest.skip(f"run `blurline models pull {PLATE_NETWORK}`; its export needs PyTorch")

    loaded = load_peers(["license_plate"], inference)

    assert [peer.name for peer in loaded] == [
        "YOLOv8n 640 0.25",
        "YOLOv8n 640 0.1",
        "YOLOv8n 1280 0.25",
        "YOLOv8n 1280 0.1",
    ]
    for peer in loaded:
        found = peer.redact(photo, ["license_plate"])
        assert found.masks["license_plate"].shape == photo.shape[:2]
