"""What networks see, as far as it is sure: the same on every CPU.

In 16 bits, in another order of additions, or in a picture that was scaled otherwise, a confidence
is another one by some hundredths, and what lies beside a threshold comes or goes.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from tests.boxes import best_iou

MARGIN = 0.1
"""How far above a threshold a confidence has to be for a test to count on it. docs/quality.md says
how far confidences move."""


class Seen(Protocol):
    """A detection or a redaction."""

    @property
    def confidence(self) -> float: ...

    @property
    def box(self) -> tuple[float, float, float, float]: ...


S = TypeVar("S", bound=Seen)


def sure(found: Iterable[S] | None, threshold: float) -> list[S]:
    """Those that no CPU misses."""
    return [one for one in found or () if one.confidence >= threshold + MARGIN]


def assert_sure_ones_agree(
    here: Sequence[S] | None, there: Sequence[S] | None, threshold: float, *, overlap: float
) -> None:
    """Both hold what is sure in one of them, in boxes of that IoU, and something is."""
    assert here is not None
    assert there is not None
    assert sure(here, threshold)
    for one, other in ((here, there), (there, here)):
        for seen in sure(one, threshold):
            assert best_iou(seen.box, [each.box for each in other]) > overlap, (seen, other)
