"""The audit trail: who read and who deleted what, in a chain that shows a line taken out of it.

A line of JSON is an event, and each line holds the sha256 of the line before it. Objects of a store
can't be appended to, so what is appended at once, one line or a thousand, is an object of its own
under the next number. `Store.create` gives a number to exactly one of many writers, so processes on
any number of machines write one chain, in one order, without a lock or a server for it. Chains of
each process would need no common order, but a whole one of them could vanish unseen.

The chain shows lines that were changed, removed or put in, as long as others follow. What no line
covers, since it is behind the last one or in an object that is none of the chain, shows by itself:
each object holds lines as they are written here, and nothing else. It can't show that its very end
was made another event or is missing, or that somebody who may write to the store has written all of
it anew. The hashes in deletion receipts show that: their owners have them, out of the store's
reach.

Events hold a job's id and words of this module, so nothing of a picture or a person.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import TypeAdapter

from blurline.certificate.canonical import canonical, utc_text
from blurline.certificate.signing import SigningKey, read_signed, signed_file
from blurline.storage import keys
from blurline.storage.store import Store

FOLDER, SUFFIX = "audit", ".jsonl"
NUMBER = re.compile(r"[0-9]+")
LINES = "application/x-ndjson"
BEGINNING = "0" * 64
"""What the first line names as the hash of the line before it."""

JOB_ID = re.compile(r"[0-9a-z-]{1,64}")
ACTOR = re.compile(r"[a-z][a-z0-9-]{0,39}")

RECEIPT = "receipt"
ReceiptFormat = Literal["blurline.deletion-receipt/1"]
RECEIPT_FORMAT: ReceiptFormat = "blurline.deletion-receipt/1"


class Action(StrEnum):
    """What was done, or tried."""

    ORIGINAL_READ = "original_read"
    ORIGINAL_DELETED = "original_deleted"
    RESULT_DELETED = "result_deleted"
    METADATA_DELETED = "metadata_deleted"


class Outcome(StrEnum):
    """How it ended. `ABSENT`: there was nothing of that kind."""

    DONE = "done"
    ABSENT = "absent"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was done to a job's objects.

    `actor` is a part of the service or the id of a caller, such as `sweeper` or `key-camera-7`:
    lower case letters, digits and hyphens. Other texts are a ValueError, so that no name, address
    or file name gets into the trail.
    """

    event: Action
    job_id: str
    actor: str
    outcome: Outcome = Outcome.DONE

    def __post_init__(self) -> None:
        if not JOB_ID.fullmatch(self.job_id) or not ACTOR.fullmatch(self.actor):
            raise ValueError("an event holds a job's id and a plain word for who did it")


EVENT = tuple(field.name for field in fields(Event))
_EVENT = TypeAdapter(Event)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look at the whole trail found.

    Attributes:
        lines: how many lines follow each other from the first on without a break.
        broken_at: number of the first object that is missing, does not follow from the one
            before it, or holds anything but lines; None if there is no such object.
        unknown: those of the hashes asked for that are of no line before the break.
        foreign: how many objects look like the trail's and are none of it.
    """

    lines: int
    broken_at: int | None
    unknown: frozenset[str]
    foreign: int = 0

    @property
    def whole(self) -> bool:
        """Whether nothing is amiss."""
        return self.broken_at is None and not self.unknown and not self.foreign


class AuditTrail:
    """The trail in a store. Threads may share one; any number of them may write at once.

    Any method may raise `StoreUnavailableError`.
    """

    def __init__(
        self, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._clock = clock
        # Where the trail ended when this object last saw it: a guess that `create` puts to the test
        self._end = (0, BEGINNING)

    def append(self, events: Sequence[Event]) -> str:
        """Write the events, at least one, as the next lines; the hash in hex of the last of them.

        They are all in the trail when it returns. After an error they may be or not, so whoever
        tries again may write them twice, which is better than never.
        """
        if not events:
            raise ValueError("there is nothing to write")
        number, previous = self._end
        while True:
            data, last = _lines(events, previous, utc_text(self._clock()))
            if self._store.create(keys.audit(number + 1), data, LINES):
                self._end = (number + 1, last)
                return last
            number, previous = self._last(number + 1)

    def lines(self) -> Iterator[dict[str, Any]]:
        """The events from the first on, up to the first number of which there is no object."""
        number = 1
        while data := self._store.get(keys.audit(number)):
            yield from (json.loads(line) for line in _lines_of(data))
            number += 1

    def inspect(self, hashes: Collection[str] = ()) -> Inspection:
        """Read the whole trail and see whether it is unbroken.

        Args:
            hashes: of lines that have to be in it, from deletion receipts.
        """
        last, foreign = self._found()
        previous, lines, unknown = BEGINNING, 0, set(hashes)
        for number in range(1, last + 1):
            for line in _all_of(self._store.get(keys.audit(number))):
                if _previous(line) != previous:
                    return Inspection(lines, number, frozenset(unknown), foreign)
                previous, lines = _hash(line), lines + 1
                unknown.discard(previous)
        return Inspection(lines, None, frozenset(unknown), foreign)

    def _last(self, known: int) -> tuple[int, str]:
        """Number and hash of the trail's end, not before the number `known`, which is taken.

        Its steps grow until they are beyond the end, then halve, so it asks for few objects even of
        a long trail. Of a trail with a gap it may take the gap for the end. What is written into
        the gap does not fit what follows, so the gap shows all the same.
        """
        found = self._store.get(keys.audit(known))
        step, growing = 1, True
        while step:
            data = self._store.get(keys.audit(known + step))
            growing = growing and data is not None
            if data is not None:
                known, found = known + step, data
            step = 2 * step if growing else step // 2
        return known, _hash(_lines_of(found)[-1])

    def _found(self) -> tuple[int, int]:
        """The highest number of an object, and how many objects only look like the trail's."""
        last = foreign = 0
        for name in self._store.older(FOLDER, datetime.max.replace(tzinfo=UTC)):
            path = PurePosixPath(name)
            number = int(path.stem) if NUMBER.fullmatch(path.stem) else 0
            if number and name == keys.audit(number):
                last = max(last, number)
            elif number or path.suffix == SUFFIX:
                foreign += 1
        return last, foreign


@dataclass(frozen=True, slots=True)
class DeletionReceipt:
    """What a user gets who had something deleted.

    Attributes:
        time: when it was deleted, by `utc_text`.
        removed: what is gone, in plain words such as `original` or `result`.
        audit: hash of the event's line in the audit trail; empty if there never was such a job.
        blurline: version of this package.
        key_id: id of the key that signs.
    """

    job_id: str
    time: str
    removed: tuple[str, ...]
    audit: str
    blurline: str
    key_id: str
    format: ReceiptFormat = RECEIPT_FORMAT


_RECEIPT = TypeAdapter(DeletionReceipt)


def issue_receipt(receipt: DeletionReceipt, key: SigningKey) -> bytes:
    """The receipt's file, signed: see `blurline.certificate.signing`.

    Raises:
        ValueError: it names another key.
    """
    return signed_file(RECEIPT, asdict(receipt), key)


def read_receipt(file: bytes, public_key: Ed25519PublicKey) -> DeletionReceipt:
    """The receipt in a file, once its signature is proved.

    Raises:
        NotProvedError: the file is not, byte for byte, what that key's owner has signed.
    """
    return read_signed(RECEIPT, file, public_key, _RECEIPT.validate_python)


def _lines(events: Sequence[Event], previous: str, time: str) -> tuple[bytes, str]:
    """The events as chained lines, and the hash of the last one."""
    lines = []
    for event in events:
        line = canonical({**asdict(event), "time": time, "previous": previous})
        previous = _hash(line)
        lines.append(line + b"\n")
    return b"".join(lines), previous


def _lines_of(data: bytes | None) -> list[bytes]:
    """An object's lines; one empty line, which fits nowhere, if it is missing or has none."""
    return (data or b"").split(b"\n")[:-1] or [b""]


def _all_of(data: bytes | None) -> list[bytes]:
    """An object's lines, and one empty line more if there is anything behind the last one."""
    lines = _lines_of(data)
    return lines if not data or data.endswith(b"\n") else [*lines, b""]


def _hash(line: bytes) -> str:
    return sha256(line).hexdigest()


def _previous(line: bytes) -> Any:
    """What the line names as the hash of the one before it; None if it is no such line.

    It has to be, byte for byte, a line as `_lines` writes it.
    """
    try:
        content = json.loads(line)
        event = _EVENT.validate_python({name: content.pop(name) for name in EVENT})
        time, previous = content.pop("time"), content.pop("previous")
        written = canonical({**asdict(event), "time": time, "previous": previous})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    genuine = line == written and not content and _is_moment(time)
    return previous if genuine else None


def _is_moment(text: Any) -> bool:
    try:
        return bool(utc_text(datetime.fromisoformat(text)) == text)
    except (ValueError, TypeError):
        return False
