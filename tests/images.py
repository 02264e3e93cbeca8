"""What the Dockerfile says, by stage."""

import re
import shlex
from functools import cache

from tests.parts import ROOT

DOCKERFILE = ROOT / "Dockerfile"


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
