"""The dashboards as files, and the expressions in them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.dashboards.overview import overview
from monitoring.dashboards.pipeline import pipeline
from monitoring.dashboards.quality import quality
from monitoring.dashboards.workers import workers

FOLDER = Path(__file__).parent.parent / "grafana" / "dashboards"
NAMES = ("overview", "pipeline", "workers", "quality")


def pages() -> dict[str, str]:
    """The content of each file by its name."""
    boards = (overview(), pipeline(), workers(), quality())
    built = dict(zip(NAMES, (one.build() for one in boards), strict=True))
    for one in built.values():
        # The library leaves numbers out, by which links lead to a panel.
        for number, panel in enumerate(one.panels or (), start=1):
            panel.id_val = number
    return {f"{name}.json": _text(one) for name, one in built.items()}


def panels_of(page: str) -> Iterator[dict[str, Any]]:
    """The panels of a file that show data."""
    yield from (panel for panel in json.loads(page)["panels"] if panel.get("targets"))


def _text(content: Any) -> str:
    return json.dumps(content, cls=JSONEncoder, indent=1, sort_keys=True) + "\n"
