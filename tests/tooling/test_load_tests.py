"""What `make load-test` sends, what makes it fail, and how it accounts for every picture."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from bench.loadtest.accounts import Totals, account, ends_of
from bench.loadtest.generators import COMMANDS, LOAD_TESTS, Figures, Generator, Outcome, read
from bench.loadtest.result import Result, content, lines
from blurline.errors import BlurlineError
from blurline.stack.stack import Stack
from tests.parts import ROOT

NAMES = ["steady", "batch", "soak", "spike"]
FIGURES = Figures(4, 30, 120, 119, 1, 0, 20, 40, 60, 70, 6, 6, 900)


def load(name: str) -> ModuleType:
    """A module of the folder `load-tests`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"load_tests_{name}", LOAD_TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def with_locust(code: str, **environment: str) -> str:
    """What code that imports locust prints.

    It runs in a process of its own, because locust rewires the standard library for gevent.
    """
    if importlib.util.find_spec("locust") is None:
        pytest.skip("locust is not installed: pip install '.[load]'")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=LOAD_TESTS,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The plan


def test_the_scenarios_are_those_that_were_promised_and_each_has_an_end() -> None:
    found = load("plan").planned({})
    assert list(found) == NAMES
    assert (found["steady"].rate, found["spike"].rate) == (30, 100)
    assert found["batch"].files > 1
    for one in found.values():
        assert 0 < one.seconds <= 600
        assert 0 < one.p95_ms <= one.p99_ms
        assert 0 < one.least_taken <= 1


def test_a_smaller_machine_gets_less_of_everything_in_proportion() -> None:
    planned = load("plan").planned
    usual, small = planned({}), planned({"RATE": "3", "DURATION": "12"})
    for name in NAMES:
        assert small[name].rate == pytest.approx(usual[name].rate / 10)
        assert small[name].seconds == pytest.approx(usual[name].seconds / 10)
        assert small[name].p99_ms == usual[name].p99_ms


def test_one_scenario_can_be_set_by_itself() -> None:
    wanted = {"SCENARIOS": "spike,batch", "RATE": "3", "SPIKE_RATE": "7", "BATCH_FILES": "2"}
    found = load("plan").planned(wanted)
    assert list(found) == ["spike", "batch"]
    assert found["spike"].rate == 7
    assert found["batch"].files == 2
    with pytest.raises(ValueError, match="SCENARIOS"):
        load("plan").planned({"SCENARIOS": "steep"})


# k6


def test_k6_sends_the_same_plan_under_the_same_thresholds(tmp_path: Path) -> None:
    k6 = k6_program()
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8")
    wanted = {"RATE": "6", "DURATION": "20", "SPIKE_SECONDS": "3", "PHOTO": str(photo)}
    given = [part for name, value in wanted.items() for part in ("-e", f"{name}={value}")]
    command = [k6, "inspect", *given, str(LOAD_TESTS / "load-test.js")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    options = json.loads(done.stdout)
    plan = load("plan").planned(wanted)
    assert set(options["scenarios"]) == set(plan)
    for name, one in plan.items():
        sent = options["scenarios"][name]
        assert (sent["timeUnit"], sent["rate"]) == ("1m0s", round(60 * one.rate))
        bounds = options["thresholds"]
        assert bounds[f"upload_errors{{scenario:{name}}}"] == ["rate==0"]
        assert bounds[f"jobs_completed{{scenario:{name}}}"] == ["rate==1"]
        assert bounds[f"upload_time{{scenario:{name}}}"] == [
            f"p(95)<{one.p95_ms}",
            f"p(99)<{one.p99_ms}",
        ]


def k6_program() -> str:
    try:
        return COMMANDS[Generator.K6]("http://127.0.0.1", Path())[0]
    except BlurlineError as error:
        pytest.skip(error.message)


# Locust


def test_locust_has_users_for_every_scenario_and_photos_of_its_own() -> None:
    code = (
        "import io, locustfile, pictures; from PIL import Image; "
        "image = Image.open(io.BytesIO(pictures.numbered(pictures.photo(1), 3))); image.load(); "
        "print(*locustfile.USERS, *(user.abstract for user in locustfile.USERS.values())); "
        "print(image.format, *image.size, image.info['comment'])"
    )
    users, image = with_locust(code).splitlines()
    assert users.split() == [*NAMES, *["False"] * len(NAMES)]
    assert image == "JPEG 1280 720 b'photo 3'"


def test_every_threshold_of_locust_fails_the_run() -> None:
    good = {"uploads": 100, "taken": 100, "refused": 0, "errors": 0, "p95_ms": 20, "p99_ms": 30}
    good |= {"followed": 10, "completed": 10}
    cases: list[tuple[dict[str, int], str | None]] = [
        ({}, None),
        ({"errors": 1}, "1 errors"),
        ({"completed": 9}, "1 followed jobs not completed"),
        ({"followed": 0, "completed": 0}, "0 followed jobs not completed"),
        ({"taken": 90, "refused": 10}, "90 of 100 uploads taken"),
        ({"p95_ms": 501}, "p95 of the answer 501 ms"),
        ({"p99_ms": 1001}, "p99 of the answer 1001 ms"),
        ({"uploads": 80, "taken": 80}, "80 uploads sent of 100"),
    ]
    found = [{**good, **wrong} for wrong, _ in cases]
    code = (
        "import json, locustfile; "
        f"print(json.dumps([locustfile.missed('steady', one) for one in {found}]))"
    )
    said = json.loads(with_locust(code, RATE="10", DURATION="10"))
    assert said == [[f"steady: {words}"] if words else [] for _, words in cases]


# The account


def test_an_account_in_which_every_picture_ended_once_has_no_problem() -> None:
    found = account(["a", "b"], {"a": "completed", "b": "completed"}, Totals(2, 0))
    assert found.problems() == []


@pytest.mark.parametrize(
    ("accepted", "ends", "totals", "said"),
    [
        ("ab", {"a": "completed", "b": "failed"}, None, "1 of 2 jobs: failed"),
        ("ab", {"a": "completed", "b": "processing"}, None, "1 of 2 jobs: processing"),
        ("ab", {"a": "completed", "b": "answered 404"}, None, "1 of 2 jobs: answered 404"),
        ("aa", {"a": "completed"}, Totals(1, 0), "1 uploads were answered with a job that was"),
        ("a", {"a": "completed"}, Totals(2, 0), "counts 2 completed and 0 failed"),
        ("a", {"a": "completed"}, Totals(0, 0), "counts 0 completed"),
        ("a", {"a": "completed"}, Totals(1, 1), "1 failed jobs, where 1 were accepted"),
    ],
    ids=["failed", "unended", "lost", "twice", "one more", "one less", "failed elsewhere"],
)
def test_whatever_did_not_end_once_and_well_is_told(
    accepted: str, ends: dict[str, str], totals: Totals | None, said: str
) -> None:
    (problem,) = account(accepted, ends, totals).problems()
    assert said in problem


class Service(BaseHTTPRequestHandler):
    """Says `processing` the first time, refuses the second time, and then how a job ended."""

    asked: dict[str, int]

    def do_GET(self) -> None:
        job_id = self.path.rpartition("/")[2]
        times = Service.asked[job_id] = Service.asked.get(job_id, 0) + 1
        status = "processing" if times == 1 or job_id == "stuck" else job_id
        self.send_response({"gone": 404}.get(job_id, 503 if times == 2 else 200))
        self.end_headers()
        self.wfile.write(json.dumps({"status": status}).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[httpx.Client]:
    """A client of a server that tells how jobs are that have their end as their id."""
    Service.asked = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}") as client:
            yield client
        server.shutdown()


def test_jobs_that_run_are_waited_for_and_refused_questions_are_asked_again(
    service: httpx.Client,
) -> None:
    ends = ends_of(service, ["completed", "failed", "gone", "completed"], seconds=30)
    assert ends == {"completed": "completed", "failed": "failed", "gone": "answered 404"}


def test_a_job_that_never_ends_is_waited_for_only_so_long(service: httpx.Client) -> None:
    assert ends_of(service, ["stuck"], seconds=0) == {"stuck": "processing"}


# What a run leaves


def outcome(*missed: str) -> Outcome:
    return Outcome(Generator.K6, {"steady": FIGURES}, missed, (("steady", "a"),))


def test_a_generator_leaves_figures_and_the_ids_of_all_that_was_taken(tmp_path: Path) -> None:
    summary, accepted = tmp_path / "k6.json", tmp_path / "k6-accepted.txt"
    figures = content(Result(outcome(), account([], {})))["scenarios"]["steady"]
    del figures["pictures"]
    summary.write_text(json.dumps({"scenarios": {"steady": figures}, "missed": ["x"]}))
    accepted.write_text("accepted steady a\nsteady: an upload was answered 500\n")
    found = read(Generator.K6, summary, accepted)
    assert found == outcome("x")
    accepted.unlink()
    assert read(Generator.K6, summary, accepted).accepted == ()


def test_a_missed_threshold_and_a_lost_picture_are_both_problems() -> None:
    result = Result(outcome("steady: too slow"), account(["a"], {"a": "failed"}))
    assert result.problems() == ["steady: too slow", "1 of 1 jobs: failed"]
    assert sum("MISSED" in line for line in lines(result)) == 2
    assert content(result)["problems"] == result.problems()


# Whole runs


def load_test(
    folder: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    k6_program()
    if importlib.util.find_spec("locust") is None:
        pytest.skip("locust is not installed: pip install '.[load]'")
    command = [sys.executable, "-m", "bench.loadtest", "--output", str(folder), *arguments]
    values = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=ROOT, env=values, capture_output=True, text=True, timeout=500
    )


@pytest.mark.long
def test_a_whole_run_keeps_every_threshold_and_accounts_for_every_picture(tmp_path: Path) -> None:
    bounds = {f"{name.upper()}_P{share}_MS": "60000" for name in NAMES for share in (95, 99)}
    sent = {"RATE": "3", "DURATION": "10", "SOAK_SECONDS": "10", "SPIKE_RATE": "20"}
    done = load_test(tmp_path, **sent, **bounds)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "summary.json").read_text())
    assert [one["generator"] for one in found] == list(Generator)
    for one in found:
        assert list(one["scenarios"]) == NAMES
        pictures = sum(scenario["pictures"] for scenario in one["scenarios"].values())
        assert one["account"]["ends"] == {"completed": pictures}
        assert one["account"]["totals"] == {"completed": pictures, "failed": 0}
        assert one["scenarios"]["batch"]["pictures"] == 10 * one["scenarios"]["batch"]["taken"]
    for page in ("k6.html", "locust.html", "summary.html"):
        assert "<table" in (tmp_path / page).read_text(), page


@pytest.mark.long
@pytest.mark.parametrize("generator", list(Generator))
def test_a_run_that_misses_a_threshold_fails(
    generator: Generator, stack: Stack, tmp_path: Path
) -> None:
    sent = {"SCENARIOS": "steady", "RATE": "1", "DURATION": "3", "STEADY_P95_MS": "0.01"}
    done = load_test(tmp_path, "--host", stack.url, "--generator", generator, **sent)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "MISSED" in done.stdout
