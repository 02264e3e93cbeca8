"""Webhooks of one caller, or to one receiver, do not hold up those of others."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from blurline.jobs.job import JobStatus
from blurline.queue.connection import connect
from blurline.settings import load_settings
from blurline.storage.signet import Signet
from blurline.webhooks import outbox
from blurline.webhooks.messenger import open_messenger
from blurline.webhooks.outbox import LEASE_SECONDS, OF_OWNER, OF_RECEIVER, Event, Outbox
from tests.parts import eventually
from tests.receivers import Receiver, receiving

AT_HOME = {
    "webhook_secret": "whsec_" + "A" * 44,
    "webhook_allowed_networks": "127.0.0.0/8",
    "webhook_allow_http": True,
}
DUE = 300
"""Events of one caller that are due at once."""


@pytest.fixture
def box(redis_url: str) -> Outbox:
    return Outbox(connect(redis_url), "q", Signet([bytes(32)]), lambda: 1_000_000.0)


@pytest.fixture
def receivers() -> Iterator[Callable[[str], Receiver]]:
    with ExitStack() as cleanup:

        def start(way: str) -> Receiver:
            receiver = cleanup.enter_context(receiving())
            receiver.way = way
            return receiver

        yield start


def fill(box: Outbox, url: str, owner: str | None, count: int = DUE) -> None:
    for number in range(count):
        assert box.add(Event(f"{owner}-{number}", url, JobStatus.COMPLETED, 1.0, owner=owner))


@contextmanager
def delivering(box: Outbox, *receivers: Receiver) -> Iterator[None]:
    """A messenger at work; in the end those receivers let go that hold it up."""
    messenger, stopping = open_messenger(load_settings(**AT_HOME), box), threading.Event()
    assert messenger is not None
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(messenger.run, stopping)
        try:
            yield
        finally:
            stopping.set()
            for receiver in receivers:
                receiver.closing.set()
        running.result()


def test_an_event_of_another_caller_is_delivered_beside_hundreds_to_receivers_that_never_answer(
    box: Outbox, receivers: Callable[[str], Receiver]
) -> None:
    tarpit, prompt = receivers("hold"), receivers("plain")
    fill(box, tarpit.url, "key-slow")
    fill(box, prompt.url, "key-other", 1)
    with delivering(box, tarpit):
        eventually(lambda: prompt.received, "the other caller's event is delivered")
        eventually(lambda: len(tarpit.received) == OF_RECEIVER, "the others go on beside it")
    assert len(tarpit.received) == OF_RECEIVER


def test_without_callers_an_event_to_another_receiver_is_delivered_beside_them_as_well(
    box: Outbox, receivers: Callable[[str], Receiver]
) -> None:
    tarpit, prompt = receivers("hold"), receivers("plain")
    fill(box, tarpit.url, None)
    event = Event("0d9f-1", prompt.url, JobStatus.FAILED, 1.0)
    while event.lane == Event("", tarpit.url, JobStatus.FAILED, 1.0).lane:  # one of 64
        prompt = receivers("plain")
        event = replace(event, url=prompt.url)
    box.add(event)
    with delivering(box, tarpit):
        eventually(lambda: prompt.received, "the event to the other receiver is delivered")


def test_names_that_are_looked_up_for_ever_hold_up_their_caller_alone(
    box: Outbox, receivers: Callable[[str], Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt, genuine, released = receivers("plain"), socket.getaddrinfo, threading.Event()
    asked: list[str] = []

    def look_up(host: str, *words: Any, **others: Any) -> Any:
        if host.endswith(".example.org"):
            asked.append(host)
            released.wait()
            raise socket.gaierror
        return genuine(host, *words, **others)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    for number in range(DUE):
        url = f"http://{number}.example.org/"
        box.add(Event(f"slow-{number}", url, JobStatus.COMPLETED, 1.0, owner="key-slow"))
    fill(box, prompt.url, "key-other", 1)
    with delivering(box):
        try:
            eventually(lambda: prompt.received, "the other caller's event is delivered")
            eventually(lambda: len(asked) == OF_OWNER, "the others go on beside it")
        finally:
            released.set()


def owners(box: Outbox, most: int) -> list[str | None]:
    return [event.owner for event, _ in box.take(most)]


def test_callers_come_in_turns_whoever_has_most_events(box: Outbox) -> None:
    fill(box, "https://a.example.org/", "key-a", 50)
    fill(box, "https://b.example.org/", "key-b", 3)
    fill(box, "https://c.example.org/", "key-c", 3)
    assert sorted(map(str, owners(box, 6))) == [
        "key-a",
        "key-a",
        "key-b",
        "key-b",
        "key-c",
        "key-c",
    ]


def test_a_caller_with_many_hosts_gets_no_more_than_its_share(box: Outbox) -> None:
    for number in range(DUE):
        url = f"https://{number}.example.org/"
        box.add(Event(f"a-{number}", url, JobStatus.COMPLETED, 1.0, owner="key-a"))
    fill(box, "https://b.example.org/", "key-b", 1)
    given = owners(box, 64)
    assert (given.count("key-a"), given.count("key-b")) == (OF_OWNER, 1)


def test_a_share_is_given_out_again_once_an_event_is_put_off_removed_or_its_lease_is_over(
    redis_url: str,
) -> None:
    now = [1_000_000.0]
    box = Outbox(connect(redis_url), "q", Signet([bytes(32)]), lambda: now[0])
    fill(box, "https://a.example.org/", "key-a")
    first = [event.job_id for event, _ in box.take(64)]
    assert (len(first), box.take(64)) == (OF_RECEIVER, [])
    box.put_off(first[0], 5)
    box.remove(first[1])
    assert len(box.take(64)) == 2
    now[0] += LEASE_SECONDS
    assert len(box.take(64)) == OF_RECEIVER


def test_one_caller_can_not_take_all_places_of_events_that_wait(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_EVENTS", 8)
    url = "https://a.example.org/"
    taken = [box.add(Event(f"a{n}", url, JobStatus.FAILED, 1.0, owner="key-a")) for n in range(9)]
    assert taken.count(True) == 4
    assert box.add(Event("b", url, JobStatus.FAILED, 1.0, owner="key-b"))
    box.remove("a0")
    assert box.add(Event("a9", url, JobStatus.FAILED, 1.0, owner="key-a"))


def test_events_of_an_earlier_version_which_nobody_has_sealed_do_not_stay(
    redis_url: str, box: Outbox
) -> None:
    with Redis.from_url(redis_url) as redis:
        content = (
            '{"job_id":"old","url":"https://a.example.org/","status":"failed","finished_at":1}'
        )
        redis.hset("blurline:webhooks:q:events", "old", content)
        redis.zadd("blurline:webhooks:q:due", {"old": 5})
        assert box.take(9) == []
        assert redis.keys("*") == []


@pytest.mark.parametrize("url", ["https://[::1", "https:// spaced /", "https://"])
def test_what_is_no_url_waits_like_any_other(box: Outbox, url: str) -> None:
    event = Event("odd", url, JobStatus.FAILED, 1.0, owner="key-a")
    assert box.add(event)
    assert box.take(9) == [(event, 1)]
