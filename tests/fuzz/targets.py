"""What can be tried, by name."""

from collections.abc import Callable, Mapping
from random import Random

from tests.fuzz.attempt import Attempt, request
from tests.fuzz.forms import form, simple_form
from tests.fuzz.mutation import mutated
from tests.fuzz.seeds import MAKERS, seeds
from tests.fuzz.texts import text
from tests.fuzz.wire import head, trailers

Maker = Callable[[Random], tuple[bytes, ...]]


def _file(kind: str) -> Maker:
    """Uploads of damaged pictures of that kind."""

    def make(chance: Random) -> tuple[bytes, ...]:
        picture = mutated(chance.choice(seeds(kind)), chance)
        fields = chance.choice(({}, {}, {"metadata": "keep"}, {"metadata": "none"}))
        headers = {"Content-Type": "multipart/form-data; boundary=a-boundary"}
        return request("POST", "/upload", headers, simple_form(fields, picture), chance)

    return make


TARGETS: Mapping[str, Maker] = {
    "forms": form,
    "trailers": trailers,
    "text": text,
    "heads": head,
    **{kind: _file(kind) for kind in MAKERS},
}
"""What makes the attempts of each target."""

OPEN_ENDED = ("trailers", "heads")
"""Targets whose attempts need not be whole requests."""


def attempt_of(seed: str, target: str, number: int) -> Attempt:
    """The attempt of that number, the same in each run of the seed."""
    chance = Random(f"{seed}/{target}/{number}")
    return Attempt(target, number, TARGETS[target](chance), target not in OPEN_ENDED)
