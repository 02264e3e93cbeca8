"""The scenarios of `scenarios.json` as the environment has them, as `load-test.js` reads them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

PLAN_FILE = Path(__file__).parent / "scenarios.json"


@dataclass(frozen=True, slots=True)
class Scenario:
    """One part of a run, and what has to come out of it.

    Attributes:
        rate: uploads a second.
        seconds: how long they are sent.
        files: pictures in each upload; more than one go to `/batch-upload`.
        least_taken: share of the uploads, 0 to 1, that the service has to take.
        p95_ms: milliseconds within which 95 of 100 uploads that were taken are answered.
        p99_ms: the same for 99 of 100.
    """

    rate: float
    seconds: float
    files: int
    least_taken: float
    p95_ms: float
    p99_ms: float


def planned(environment: Mapping[str, str] = os.environ) -> dict[str, Scenario]:
    """The scenarios that are to run, in their order, by name.

    `RATE` and `DURATION` are those of `steady`; the others keep their proportion to it. What a
    variable such as `SPIKE_RATE` or `SOAK_SECONDS` says about one scenario goes before that.

    Raises:
        ValueError: SCENARIOS names one that there is not, or a number is none.
    """
    content = json.loads(PLAN_FILE.read_text(encoding="utf-8"))
    known = {name: Scenario(**figures) for name, figures in content.items()}
    steady = known["steady"]
    pace = float(environment.get("RATE") or steady.rate) / steady.rate
    stretch = float(environment.get("DURATION") or steady.seconds) / steady.seconds
    found = {}
    for name in (environment.get("SCENARIOS") or ",".join(known)).split(","):
        if name not in known:
            raise ValueError(f"SCENARIOS: there is no {name!r}; there are {', '.join(known)}")
        one = known[name]
        scaled = replace(one, rate=one.rate * pace, seconds=one.seconds * stretch)
        found[name] = _with_own(scaled, name, environment)
    return found


def _with_own(scenario: Scenario, name: str, environment: Mapping[str, str]) -> Scenario:
    """The scenario with what variables of its own name say."""
    for field in fields(scenario):
        if text := environment.get(f"{name}_{field.name}".upper()):
            value = int(text) if field.name == "files" else float(text)
            scenario = replace(scenario, **{field.name: value})
    return scenario
