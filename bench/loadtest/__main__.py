"""`make load-test`: one generator after the other, then the account; see load-tests/README.md."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console

from bench.loadtest.accounts import account, ends_of, totals_of
from bench.loadtest.generators import Generator, Outcome, run
from bench.loadtest.result import Result, publish
from bench.photos import Size, make_photos
from bench.service import running_service
from blurline.errors import BlurlineError
from blurline.settings import load_settings

FOLDER = Path(__file__).parents[2] / "build" / "load-tests"
ANSWER_SECONDS = 60
WIDTH = 150


@dataclass(frozen=True, slots=True)
class Target:
    """The service that is sent to; `own` if nobody else uses it."""

    url: str
    client: httpx.Client
    api_key: str
    own: bool


def main(
    host: Annotated[
        str | None,
        typer.Option(help="URL of a running service; without it one is started on this machine."),
    ] = None,
    api_key: Annotated[
        str, typer.Option(envvar="API_KEY", help="A key with the scopes submit and read.")
    ] = "",
    generator: Annotated[
        list[Generator] | None, typer.Option(help="k6 or locust; without it both, in turn.")
    ] = None,
    settle: Annotated[
        float, typer.Option(min=1, help="Seconds that accepted jobs may take after the last one.")
    ] = 600,
    output: Annotated[Path, typer.Option(help="Where the reports go.")] = FOLDER,
) -> None:
    """Send the scenarios of load-tests/scenarios.json by k6 and by locust, and account for all.

    RATE, DURATION, SCENARIOS and the other variables in load-tests/README.md change what is sent.
    Exits with 1 where a threshold was missed, or where an accepted picture did not end exactly
    once, as completed.
    """
    console = Console(record=True, width=WIDTH)
    output.mkdir(parents=True, exist_ok=True)
    photos = _photos(output / "photos")
    results = []
    with _target(host, api_key) as target:
        for one in generator or list(Generator):
            console.print(f"{one} sends to {target.url}", highlight=False)
            results.append(_measured(one, target, photos, output, settle))
    publish(results, output, console)
    raise typer.Exit(int(any(result.problems() for result in results)))


def _measured(
    generator: Generator, target: Target, photos: Sequence[Path], output: Path, settle: float
) -> Result:
    """What one generator found, and what became of all that it was told to be accepted."""
    before = totals_of(target.client)
    outcome: Outcome = run(generator, target.url, photos, output, target.api_key)
    job_ids = [job_id for _, job_id in outcome.accepted]
    ends = ends_of(target.client, job_ids, settle)
    totals = totals_of(target.client) - before if target.own else None
    return Result(outcome, account(job_ids, ends, totals))


@contextmanager
def _target(host: str | None, api_key: str) -> Iterator[Target]:
    """The service at that address, or one of our own with the settings of the environment."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    if host is not None:
        with httpx.Client(base_url=host, headers=headers, timeout=ANSWER_SECONDS) as client:
            yield Target(host.rstrip("/"), client, api_key, own=False)
        return
    with (
        running_service() as service,
        httpx.Client(base_url=service.stack.url, headers=headers, timeout=ANSWER_SECONDS) as client,
    ):
        yield Target(service.stack.url, client, api_key, own=True)


def _photos(folder: Path) -> list[Path]:
    """The photos that PHOTO names, or some of 1280 x 720 made from the samples of the demo."""
    if given := os.environ.get("PHOTO"):
        return [Path(path) for path in given.split(",")]
    folder.mkdir(exist_ok=True)
    paths = []
    for number, photo in enumerate(make_photos(Size("720p", 1280, 720), load_settings())):
        paths.append(folder / f"{number:02}.jpg")
        paths[-1].write_bytes(photo)
    return paths


if __name__ == "__main__":
    try:
        typer.run(main)
    except BlurlineError as error:
        raise SystemExit(f"load-test: {error.message}") from error
