"""The simulated autoscalers: by the rules of Kubernetes, and with the numbers of the manifest."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.autoscaling import Autoscaler, Bounds, Manifest, Way, read_manifest, wanted
from bench.cluster import Load, Worker, simulate
from bench.scaler import COLUMNS, LOADS, MANIFEST, markdown
from tests.parts import ROOT

SPIKE, STEADY = LOADS
FAST = Way(pods=100, period=15, window=0)
SLOW = Way(pods=1, period=60, window=300)


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(MANIFEST)


@pytest.mark.parametrize(
    ("total", "target", "pods", "count"),
    [(0, 40, 5, 0), (40, 40, 5, 1), (41, 40, 5, 2), (215, 40, 5, 5), (221, 40, 5, 6)],
)
def test_a_metric_wants_its_share_of_pods_and_small_differences_do_not_count(
    total: float, target: float, pods: int, count: int
) -> None:
    assert wanted(total, target, pods) == count


def test_of_several_metrics_the_greatest_holds_within_the_bounds() -> None:
    scaler = Autoscaler(Bounds(2, 10, FAST, SLOW), 2)
    assert scaler.look(15, [(40, 40), (200, 40)]) == 5
    assert scaler.look(30, [(4000, 40), (0, 40)]) == 10


def test_pods_come_no_faster_than_the_policy_lets_them() -> None:
    scaler = Autoscaler(Bounds(1, 20, Way(4, 15, 0), SLOW), 1)
    assert [scaler.look(at, [(20, 1)]) for at in (15, 30, 45)] == [5, 9, 13]


def test_pods_go_after_the_window_and_one_at_a_time() -> None:
    scaler = Autoscaler(Bounds(1, 20, FAST, SLOW), 1)
    assert scaler.look(15, [(4, 1)]) == 4
    pods = {at: scaler.look(at, [(0, 1)]) for at in range(30, 600, 15)}
    assert pods[315] == 4
    assert pods[330] == 3
    assert pods[375] == 3
    assert pods[390] == 2
    assert pods[450] == 1


def test_the_same_arguments_give_the_same_course(manifest: Manifest) -> None:
    load = Load("short", 100, 3)
    assert simulate(manifest, load, Worker(), 1) == simulate(manifest, load, Worker(), 1)
    assert simulate(manifest, load, Worker(), 1) != simulate(manifest, load, Worker(), 2)


def test_every_image_is_done_or_refused(manifest: Manifest) -> None:
    small = replace(manifest, places=100)
    course = simulate(small, Load("short", 100, 5), Worker())
    assert course.refused > 0
    assert len(course.latencies) + course.refused == len(
        simulate(manifest, Load("short", 100, 5), Worker()).latencies
    )


def test_a_worker_is_as_fast_as_it_is_said_to_be(manifest: Manifest) -> None:
    still = replace(manifest.worker.bounds, least=1, most=1)
    one = replace(manifest, worker=replace(manifest.worker, bounds=still))
    course = simulate(one, Load("much", 100, 20), Worker(rate=10))
    busy = [moment.time for moment in course.moments if moment.waiting]
    assert len(course.latencies) / max(busy) == pytest.approx(10, rel=0.05)


def test_the_numbers_are_those_of_the_manifest(manifest: Manifest, tmp_path: Path) -> None:
    text = MANIFEST.read_text()
    changed = text.replace("maxReplicaCount: 20", "maxReplicaCount: 30")
    place = tmp_path / "manifest.yaml"
    place.write_text(changed.replace('MAX_QUEUE_SIZE: "3000"', 'MAX_QUEUE_SIZE: "2000"'))
    found = read_manifest(place)
    assert (manifest.worker.bounds.most, found.worker.bounds.most) == (20, 30)
    assert (manifest.places, found.places) == (3000, 2000)
    assert (found.worker.threads, found.worker.cores) == (4, 2)


def test_a_spike_of_100_images_a_second_finds_a_place_and_all_workers(manifest: Manifest) -> None:
    for start in (10.0, 60.0):
        course = simulate(manifest, SPIKE, Worker(start=start))
        assert course.refused == 0
        assert max(moment.working for moment in course.moments) == manifest.worker.bounds.most


def test_the_document_has_the_table_that_is_computed(manifest: Manifest) -> None:
    document = (ROOT / "docs/scaling.md").read_text()
    rate = float(re.findall(r"python -m bench\.scaler --rate ([\d.]+)", document)[0])
    assert f"| {' | '.join(COLUMNS)} |" in document
    for load in LOADS:
        for start in (10.0, 60.0):
            course = simulate(manifest, load, Worker(rate, start))
            assert markdown([course]).splitlines()[-1] in document
