"""Marks of deleted jobs, which stand in the place of their records."""

import json
from dataclasses import asdict, dataclass

BEGINNING = b'{"deleted":true'
"""How a mark begins, and no record."""

MOST_BYTES = 320
"""A mark is shorter, and a record longer."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What is left of a deleted job: it says nothing of it but what a second deletion asks for.

    Attributes:
        owner: id of the caller whose it was, who may ask for the deletion again.
        audit: hash of the audit trail's line of the last deletion that found nothing any more.
    """

    owner: str | None = None
    audit: str | None = None

    def to_json(self) -> bytes:
        """The mark as UTF-8 JSON."""
        told = {name: text for name, text in asdict(self).items() if text is not None}
        return json.dumps({"deleted": True, **told}, separators=(",", ":")).encode()


def mark_in(data: bytes | None) -> Mark | None:
    """The mark that stands in a record's place; None if a record does, or nothing."""
    if data is None or not data.startswith(BEGINNING):
        return None
    try:
        content = json.loads(data)
    except ValueError:
        return Mark()
    return Mark(content.get("owner"), content.get("audit"))
