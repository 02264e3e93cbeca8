"""What the Dockerfile and the compose files hold, for the tests of all deployment files."""

import re
import shlex
from functools import cache
from typing import Any

import yaml

from blurline.settings import Settings
from tests.parts import ROOT

DOCKERFILE = ROOT / "Dockerfile"
TARGETS = ("api", "worker")
CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
SETTINGS = {name.upper() for name in Settings.model_fields}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")


@cache
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


@cache
def stages() -> dict[str, list[tuple[str, str]]]:
    """The Dockerfile's instructions by stage; a stage begins with those of the one it is from."""
    text = re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())
    found: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = list(found.get(base, []))
        else:
            current.append((instruction, rest))
    return found


def instructions(stage: str, instruction: str) -> list[str]:
    return [rest for name, rest in stages()[stage] if name == instruction]


def image_environment(stage: str) -> dict[str, str]:
    pairs = (pair for rest in instructions(stage, "ENV") for pair in shlex.split(rest))
    return dict(pair.split("=", 1) for pair in pairs)


def with_defaults(value: str) -> str:
    """The value that compose gives where none of its variables is set."""
    return VARIABLE.sub(lambda match: match["text"] if match["kind"] == "-" else "x", value)


def compose_environment(service: str) -> dict[str, str]:
    environment = compose()["services"][service]["environment"]
    return {name: with_defaults(value) for name, value in environment.items()}
