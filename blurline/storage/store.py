"""The border to whatever keeps objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Seen:
    """An object when it was looked at: how many bytes, and a text that no other writing has."""

    size: int
    version: str


class Store(Protocol):
    """Named objects of bytes. An object is there whole or not at all, whoever looks when.

    Any method may raise `StoreUnavailableError`; the same call may then succeed later.
    """

    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none of that name."""

    def look(self, key: str) -> Seen | None:
        """What there is to be known without its bytes, or None if there is none of that name."""

    def part(self, key: str, seen: Seen, start: int, end: int) -> bytes | None:
        """Its bytes from `start` up to `end`, of which there is at least one.

        None if it is gone, or another one than was seen.
        """

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """Write the object, in place of one that is there."""

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """Write the object only if there is none of that name; False if there was one.

        Of several callers at the same time exactly one gets True.
        """

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""

    def older(
        self,
        folder: str,
        before: datetime,
        after: datetime | None = None,
        below: float = inf,
    ) -> Iterator[str]:
        """Names of the objects below the folder that were last written before that moment.

        With `after`, only of those that were written at that moment or later; with `below`, only of
        those of fewer bytes. In no order, and
        looked up while they are asked for: what is written or deleted meanwhile may or may not be
        among them. The moments have to know their time zone.
        """

    def check(self) -> None:
        """Return if the store answers."""

    def tidy(self, before: datetime) -> int:
        """Remove what writers that died before that moment have left, and nobody can read.

        Returns:
            How many of such remains there were.
        """
