"""What the benchmark counts and how; never how fast anything is."""

import json
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bench.spike as spike_module
import bench.throughput as throughput_module
from bench import report
from bench.__main__ import COMMANDS, app, arguments
from bench.arrivals import of_answers
from bench.bare import cpu_ms_by_step, kernel_of
from bench.client import Client, form
from bench.crowd import crowd_cost, picture
from bench.figures import percentiles, ratios, slope, split, steady_rate
from bench.install_size import size_of
from bench.kernel import Kernel
from bench.ledger import Charged, Ledger
from bench.looks import looks_cost
from bench.meter import Sample, Spent, series
from bench.openloop import Answer, OpenLoop, schedule
from bench.photos import SIZES, Size, one_size, sizes
from blurline.errors import BlurlineError
from blurline.settings import load_settings
from tests.parts import drawing


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles(float(n) for n in range(1, 101)) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([7.0]) == {"p50": 7, "p95": 7, "p99": 7}
    assert percentiles([]) == {}


def test_a_round_is_compared_with_the_kernel_runs_around_it() -> None:
    assert ratios([10, 20], [10, 30, 50]) == [0.5, 0.5]
    with pytest.raises(ValueError):
        ratios([10, 20], [10, 30])


def test_growth_is_that_of_the_later_part() -> None:
    steep_then_flat = [(float(n), 100.0 * n) for n in range(5)] + [
        (float(n), 400.0) for n in range(5, 20)
    ]
    assert slope(steep_then_flat) == pytest.approx(0)
    assert slope([(float(n), 3.0 + 0.5 * n) for n in range(20)]) == pytest.approx(0.5)
    assert slope([(1.0, 5.0)]) == slope([]) == slope([(2.0, 1.0), (2.0, 9.0)]) == 0


def test_a_steady_rate_leaves_out_the_beginning_and_the_end() -> None:
    steady = [10 + 0.5 * n for n in range(11)]
    assert steady_rate([1.0, 2.0, *steady, 99.0], start=9, slots=1) == pytest.approx(2)
    assert steady_rate(steady, start=50, slots=1) == 0
    assert steady_rate([], start=0, slots=2) == 0


def test_the_parts_of_a_total_add_up() -> None:
    parts = split(10, {"store": 3, "queue": 4}, "rest")
    assert parts == {"store": 3, "queue": 4, "rest": 3}
    assert sum(parts.values()) == 10


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], ["throughput"]),
        (["--images", "5"], ["throughput", "--images", "5"]),
        (["spike", "--rate", "3"], ["spike", "--rate", "3"]),
        (["--help"], ["--help"]),
    ],
)
def test_throughput_is_what_runs_by_default(given: list[str], expected: list[str]) -> None:
    assert arguments(given, COMMANDS) == expected


@pytest.mark.parametrize("command", COMMANDS)
def test_every_subcommand_says_what_it_measures(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert len(result.stdout.split()) > 40


def test_sizes_have_names_or_numbers() -> None:
    assert sizes("all") == SIZES
    assert [(size.width, size.height) for size in sizes("12MP")] == [(4000, 3000)]
    assert sizes("320x240") == (Size("320x240", 320, 240),)
    for wrong in ("8k", "320", "axb", "720p,1080p"):
        with pytest.raises(BlurlineError, match="--size"):
            sizes(wrong)
    with pytest.raises(BlurlineError, match="one size"):
        one_size("all")


def test_larger_pictures_are_fewer_but_never_more_than_asked_for() -> None:
    counts = [size.share_of(800) for size in SIZES]
    assert counts == [800, 355, 61]
    assert all(size.share_of(5) == 5 for size in SIZES)


def test_a_schedule_has_equal_steps() -> None:
    due = schedule(4, 2.5)
    assert due == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.25]


class Slow(BaseHTTPRequestHandler):
    """Answers every upload half a second late and says how many it held at a time."""

    protocol_version = "HTTP/1.1"
    held, most, lock = 0, 0, threading.Lock()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        with Slow.lock:
            Slow.held += 1
            Slow.most = max(Slow.most, Slow.held)
        time.sleep(0.5)
        with Slow.lock:
            Slow.held -= 1
        body = b'{"job_id": "a"}'
        self.send_response(202)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def test_an_open_loop_does_not_wait_for_answers() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        due = schedule(40, 0.4)
        answers = OpenLoop(f"http://127.0.0.1:{server.server_port}", [b"photo"]).run(due)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert len(answers) == len(due) == 16
    assert all(answer.accepted and answer.job_id for answer in answers)
    # The last one is due before the first one is answered.
    assert Slow.most > 1
    assert all(answer.due_at <= answer.sent_at <= answer.answered_at for answer in answers)
    steps = [later.due_at - answers[0].due_at for later in answers]
    assert steps == pytest.approx(due, abs=1e-3)


def test_uploads_without_an_answer_are_counted_not_forgotten() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.server_close()
    answers = OpenLoop(f"http://127.0.0.1:{server.server_port}", [b"photo"]).run([0.0, 0.01])
    found = of_answers(answers)
    assert (found["sent"], found["accepted"]) == (2, 0)
    assert sum(found["refused"].values()) == 2


def test_latency_counts_from_the_moment_that_was_due() -> None:
    answer = Answer(due_at=10.0, sent_at=10.5, answered_at=10.75, status=202, job_id="a")
    assert (answer.latency_ms, answer.late_ms) == (750, 500)
    refused = [Answer(0, 0, 1, 429), Answer(0, 0, 1, 429), Answer(0, 0, 1, 0, error="EOFError")]
    assert of_answers([answer, *refused])["refused"] == {"429": 2, "EOFError": 1}


def test_what_is_charged_to_one_account_is_not_charged_to_another() -> None:
    started = time.process_time()
    ledger = Ledger()
    ledger.start()
    charged = Charged([3, 1, 2], "inner", ledger)
    while time.process_time() - started < 0.02:
        charged.copy()
    ledger.lap("outer")
    used = time.process_time() - started
    assert set(ledger.seconds) == {"inner", "outer"}
    assert all(seconds > 0 for seconds in ledger.seconds.values())
    assert sum(ledger.seconds.values()) <= used + 1e-9


def test_spent_adds_up() -> None:
    assert Spent(3.0, 5) - Spent(1.0, 2) + Spent(0.5, 1) == Spent(2.5, 4)


def test_samples_become_a_series_of_each_process() -> None:
    samples = [Sample(0, {"api": 1.0, "worker": 5.0}), Sample(10, {"api": 2.0, "worker": 6.0})]
    assert series(samples, "worker") == [(0, 5.0), (10, 6.0)]


def test_results_of_other_subcommands_stay(tmp_path: Path) -> None:
    place = tmp_path / "latest.json"
    report.publish("spike", {"sent": 3}, place)
    report.publish("soak", {"images": 4, report.RECIPE: {"size": [1, 2]}}, place)
    report.publish("spike", {"sent": 5}, place)
    content = json.loads(place.read_text())
    assert content == {"spike": {"sent": 5}, "soak": {"images": 4, "recipe": {"size": [1, 2]}}}


def test_the_table_shows_groups_but_no_recipes() -> None:
    result = {"ratio": 0.9, "cpu": {"api": {"http": 1.5}}, "runs": [1], report.RECIPE: {"a": 1}}
    assert list(report.rows(result)) == [
        (0, "ratio", 0.9),
        (0, "cpu", ""),
        (1, "api", ""),
        (2, "http", 1.5),
    ]
    assert [report.text(value) for value in (1234.5, 0.25, 3, "x")] == ["1,234.5", "0.25", "3", "x"]


def test_a_folder_is_as_large_as_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"12345")
    (tmp_path / "a" / "b" / "two").write_bytes(b"123")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "one")
    assert size_of(tmp_path / "a") == 8


@pytest.fixture(scope="module")
def kernel() -> Kernel:
    return kernel_of(load_settings())


def test_what_a_crowd_costs_is_told_beside_its_networks(kernel: Kernel) -> None:
    faces = replace(kernel, options=replace(kernel.options, targets=("face",)))
    cost = crowd_cost(faces, picture(36, load_settings()))
    assert 30 <= cost.regions <= 60
    assert cost.networks > 0
    assert cost.rest > 0
    assert set(cost.figures()) == {"networks", "rest", "told", "regions"}


def test_the_cpu_of_every_network_is_an_account_of_its_own(kernel: Kernel, zidane: bytes) -> None:
    steps = cpu_ms_by_step(kernel, [zidane], 1)
    assert set(steps) >= {"decode", "redaction", "encode"}
    networks = {name.removeprefix("network ") for name in steps if name.startswith("network ")}
    assert networks == set(kernel.detectors)


def test_a_batch_is_one_upload_of_many_files(stack: Any, small_jpeg: bytes) -> None:
    with Client(stack.url) as client:
        job_ids = client.upload(form([small_jpeg] * 3, batch=True), batch=True)
        job_ids += client.upload(form([small_jpeg], batch=False), batch=False)
        assert len(set(job_ids)) == 4
        assert set(client.ends(job_ids)) == set(job_ids)
        with pytest.raises(BlurlineError, match="refused"):
            client.upload(form([b"no picture"], batch=False), batch=False)
        with pytest.raises(BlurlineError, match="not completed"):
            client.ends(["no-such-job"])


def published(monkeypatch: pytest.MonkeyPatch, module: Any) -> dict[str, Any]:
    """What a subcommand publishes from now on, of a few pictures only."""
    monkeypatch.setattr("bench.photos.VARIANTS", 2)
    for name in ("STEP_IMAGES", "WARM_UP", "TRACED"):
        monkeypatch.setattr(throughput_module, name, 2)
    found: dict[str, Any] = {}
    monkeypatch.setattr(module, "publish", found.__setitem__)
    return found


@pytest.mark.long
def test_throughput_accounts_for_every_image_and_process(monkeypatch: pytest.MonkeyPatch) -> None:
    found = published(monkeypatch, throughput_module)
    words = "throughput --size 320x240 --images 8 --batch 2 --rounds 1 --kernel-seconds 0.2"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    (name, figures), *others = found["throughput"].items()
    assert (name, others) == ("320x240, batches of 2, folder", [])
    assert figures["recipe"]["images"] == 8
    cpu = figures["cpu_ms_per_image"]
    assert {"api", "worker", "valkey", "load generator"} <= set(cpu)
    assert sum(cpu["api_parts"].values()) == pytest.approx(cpu["api"], abs=0.1)
    assert sum(cpu["worker_parts"].values()) == pytest.approx(cpu["worker"], abs=0.1)
    assert "load generator" not in figures["peak_memory_mb"]
    assert figures["ratio"] > 0


@pytest.mark.long
def test_a_spike_on_the_s3_server_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = published(monkeypatch, spike_module)
    words = "spike --size 320x240 --rate 20 --seconds 0.5 --store s3 --kernel-seconds 0.2"
    result = CliRunner().invoke(app, words.split())
    assert result.exit_code == 0, result.output
    figures = found["spike"]
    assert figures["sent"] == figures["accepted"] == figures["completed"] == 10
    assert figures["refused"] == {}
    assert "s3 server" in figures["cpu_ms_per_image"]


def test_looks_are_measured_beside_other_ways_to_the_like() -> None:
    costs = looks_cost([drawing(64, 48)], rounds=1)

    assert set(costs) >= {"enhance", "style_comic", "style_aged", "stylization"}
    assert all(cost > 0 for cost in costs.values())
