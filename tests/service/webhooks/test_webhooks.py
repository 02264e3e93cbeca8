"""Ends of jobs are reported: signed, at least once, and to nobody who should not be reached."""

import hmac
import json
import socket
import threading
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from blurline.errors import OptionError, SettingsError
from blurline.jobs.job import JobStatus
from blurline.queue.connection import connect
from blurline.settings import load_settings
from blurline.storage.signet import Signet
from blurline.webhooks import messenger, outbox
from blurline.webhooks.addresses import METADATA
from blurline.webhooks.messenger import WAITS, Messenger, open_messenger
from blurline.webhooks.outbox import LEASE_SECONDS, Event, Outbox, open_outbox
from blurline.webhooks.rules import CallbackRules, callback_of, webhooks_of
from tests.commands import Cli, check_refused
from tests.light import light_service, light_settings, light_worker
from tests.parts import (
    NOBODY,
    Taking,
    ended,
    eventually,
    job_spec,
    refusal,
    runner,
    serving,
    settings_for,
    upload,
)
from tests.receivers import Receiver, certificate_for, receiving

KEY = bytes(range(32))
SECRET = f"whsec_{b64encode(KEY).decode()}"
AT_HOME = {"webhook_allowed_networks": "127.0.0.0/8,::1/128", "webhook_allow_http": True}
TOKEN = "token-of-the-receiver"  # noqa: S105 - what must not come into the log


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@dataclass
class Post:
    """An outbox whose clock is set by hand, and a messenger that is run until nothing is due."""

    redis: Redis
    outbox: Outbox
    messenger: Messenger
    now: list[float]

    def add(self, url: str) -> Event:
        event = Event("0d9f-1", url, JobStatus.COMPLETED, 5.5)
        assert self.outbox.add(event)
        return event

    def deliver(self) -> None:
        """Have one try of all that is due now end."""
        stopping = threading.Event()
        original = self.outbox.take

        def once(most: int) -> list[tuple[Event, int]]:
            stopping.set()
            return original(most)

        self.outbox.take = once  # type: ignore[method-assign]
        self.messenger.run(stopping)
        self.outbox.take = original  # type: ignore[method-assign]

    @property
    def waits(self) -> list[float]:
        """Seconds until the next try of each receiver's first event."""
        found = self.redis.zrange("blurline:webhooks:q:lanes", 0, -1, withscores=True)
        return [due - self.now[0] for _, due in found]

    @property
    def holds(self) -> int:
        """How many keys of webhooks Redis has."""
        return len(self.redis.keys("blurline:webhooks:*"))


@pytest.fixture
def post(redis_url: str) -> Callable[..., Post]:
    def make(**settings: Any) -> Post:
        redis, now = connect(redis_url), [1_000_000.0]
        box = Outbox(redis, "q", Signet([bytes(32)]), lambda: now[0])
        found = open_messenger(load_settings(webhook_secret=SECRET, **settings), box)
        assert found is not None
        return Post(redis, box, found, now)

    return make


def test_the_end_of_a_job_is_posted_signed_and_then_forgotten(
    post: Callable[..., Post], receiver: Receiver
) -> None:
    office = post(**AT_HOME)
    office.add(receiver.url)

    office.deliver()

    (got,) = receiver.received
    assert got.path == "/hook"
    assert json.loads(got.body) == {
        "type": "job.completed",
        "event_id": "evt_0d9f-1",
        "job_id": "0d9f-1",
        "status": "completed",
        "finished_at": 5.5,
    }
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "evt_0d9f-1"
    moment = got.headers["webhook-timestamp"]
    assert abs(int(moment) - time.time()) < 3600
    signed = b".".join([b"evt_0d9f-1", moment.encode(), got.body])
    version, _, signature = got.headers["webhook-signature"].partition(",")
    assert version == "v1"
    assert b64decode(signature) == hmac.digest(KEY, signed, "sha256")
    assert office.holds == 0


@pytest.mark.parametrize("status", [300, 302, 307, 400, 404, 500, 503])
def test_what_is_not_taken_is_posted_again_later_under_the_same_id(
    post: Callable[..., Post], receiver: Receiver, status: int
) -> None:
    office = post(**AT_HOME)
    office.add(receiver.url)
    receiver.statuses = [status]
    office.deliver()
    assert office.waits == [WAITS[0]]
    office.deliver()
    assert len(receiver.received) == 1, "not before its time, and no redirect is followed"
    office.now[0] += WAITS[0]
    office.deliver()
    assert [got.path for got in receiver.received] == ["/hook", "/hook"]
    assert {got.headers["webhook-id"] for got in receiver.received} == {"evt_0d9f-1"}
    assert office.holds == 0


def test_a_receiver_that_never_takes_it_is_given_up_after_growing_waits(
    post: Callable[..., Post], receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    office = post(**AT_HOME)
    office.add(f"{receiver.url}?key={TOKEN}")
    receiver.statuses = [500] * (len(WAITS) + 1)
    for wait in WAITS:
        office.deliver()
        assert office.waits == [wait]
        office.now[0] += wait
    office.deliver()
    assert len(receiver.received) == len(WAITS) + 1
    assert office.holds == 0
    assert "given up" in caplog.text
    assert TOKEN not in caplog.text
    assert str(receiver.port) not in caplog.text


def test_a_receiver_that_is_gone_for_good_is_believed(
    post: Callable[..., Post], receiver: Receiver
) -> None:
    office = post(**AT_HOME)
    office.add(receiver.url)
    receiver.statuses = [410]
    office.deliver()
    assert office.holds == 0


def test_a_receiver_that_is_away_is_tried_again(post: Callable[..., Post]) -> None:
    with receiving() as receiver:
        url = receiver.url
    office = post(**AT_HOME)
    office.add(url)
    office.deliver()
    assert office.waits == [WAITS[0]]


def test_a_receiver_that_never_ends_its_header_is_hung_up_on(
    post: Callable[..., Post], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messenger, "TRY_SECONDS", 0.3)
    office = post(**AT_HOME)
    office.add(receiver.url)
    receiver.way = "drip"
    office.deliver()
    assert office.waits == [WAITS[0]]


def test_a_body_that_never_ends_is_not_read(post: Callable[..., Post], receiver: Receiver) -> None:
    office = post(**AT_HOME)
    office.add(receiver.url)
    receiver.way = "flood"
    office.deliver()
    assert office.holds == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1", "2130706433"])
def test_this_machine_is_not_reached_by_any_name(
    post: Callable[..., Post], receiver: Receiver, host: str
) -> None:
    office = post(webhook_allow_http=True)
    office.add(f"http://{host}:{receiver.port}/hook")
    office.deliver()
    assert receiver.received == []
    assert office.holds == 0, "and it is not tried again"


def test_plain_http_is_not_spoken_unless_allowed(
    post: Callable[..., Post], receiver: Receiver
) -> None:
    office = post(webhook_allowed_networks="127.0.0.0/8")
    office.add(receiver.url)
    office.deliver()
    assert receiver.received == []


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have names resolve to these addresses, one answer after the other; the names asked for."""
    asked: list[str] = []
    waiting = list(answers)

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        found = waiting.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(messenger.socket, "getaddrinfo", look_up)
    return asked


def test_the_address_that_was_checked_is_the_one_that_is_reached(
    post: Callable[..., Post], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
    office = post(**AT_HOME)
    office.add(f"http://hook.example.org:{receiver.port}/hook")
    office.deliver()
    (got,) = receiver.received
    assert got.headers["host"] == f"hook.example.org:{receiver.port}"
    assert [host for host in asked if host == "hook.example.org"] == ["hook.example.org"]


def test_one_forbidden_address_among_others_forbids_the_name(
    post: Callable[..., Post], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, ["127.0.0.1", "10.0.0.1"])
    office = post(**AT_HOME)
    office.add(f"http://hook.example.org:{receiver.port}/hook")
    office.deliver()
    assert receiver.received == []
    assert office.holds == 0


@pytest.mark.parametrize("certified", ["localhost", "elsewhere.example.org"])
def test_the_receivers_certificate_has_to_be_for_its_name(
    post: Callable[..., Post], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certified: str
) -> None:
    file = certificate_for(certified, tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    office = post(webhook_allowed_networks="127.0.0.0/8,::1/128")
    with receiving(file) as receiver:
        resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
        office.add(f"https://localhost:{receiver.port}/hook")
        office.deliver()
        assert len(receiver.received) == (certified == "localhost")


def test_a_certificate_of_nobody_is_not_trusted(post: Callable[..., Post], tmp_path: Path) -> None:
    office = post(webhook_allowed_networks="127.0.0.0/8,::1/128")
    with receiving(certificate_for("localhost", tmp_path)) as receiver:
        office.add(f"https://localhost:{receiver.port}/hook")
        office.deliver()
        assert receiver.received == []
        assert office.waits == [WAITS[0]]


def test_an_event_whose_messenger_dies_is_taken_by_another(post: Callable[..., Post]) -> None:
    office = post()
    event = office.add("https://hook.example.org/")
    assert office.outbox.take(9) == [(event, 1)]
    assert office.outbox.take(9) == []
    office.now[0] += LEASE_SECONDS
    assert office.outbox.take(9) == [(event, 2)]


def test_an_event_that_is_added_twice_is_reported_once(post: Callable[..., Post]) -> None:
    office = post()
    event = office.add("https://hook.example.org/")
    office.add("https://hook.example.org/")
    assert office.outbox.take(9) == [(event, 1)]


def test_events_of_receivers_that_are_away_do_not_fill_redis(
    post: Callable[..., Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_EVENTS", 1)
    office = post()
    event = office.add("https://hook.example.org/")
    other = Event("0d9f-2", "https://hook.example.org/", JobStatus.FAILED, 1.0)
    assert not office.outbox.add(other)
    office.outbox.remove(event.job_id)
    assert office.outbox.add(other)


def test_an_event_that_nobody_can_read_does_not_stop_the_others(
    post: Callable[..., Post], receiver: Receiver
) -> None:
    office = post(**AT_HOME)
    office.redis.hset("blurline:webhooks:q:events", "bad", "{")
    office.redis.zadd("blurline:webhooks:q:due", {"bad": 0, "lost": 0})
    office.add(receiver.url)
    office.deliver()
    assert len(receiver.received) == 1
    assert office.holds == 0


def test_an_event_that_was_removed_meanwhile_does_not_come_back(post: Callable[..., Post]) -> None:
    office = post()
    event = office.add("https://hook.example.org/")
    office.outbox.take(9)
    office.outbox.remove(event.job_id)
    office.outbox.put_off(event.job_id, 5)
    assert office.holds == 0


@pytest.mark.parametrize(
    "address",
    [
        *sorted(map(str, METADATA)),
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),  # noqa: S104
        *("169.254.1.1", "100.64.0.1", "192.0.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1"),
        *("240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fd00::1"),
        *("fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1"),
        *("64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1", "2001:db8::1"),
    ],
)
def test_nothing_but_public_addresses_is_reached(address: str) -> None:
    assert not CallbackRules().allows(address)
    host = f"[{address}]" if ":" in address and "%" not in address else address
    with pytest.raises(OptionError):
        CallbackRules().check(f"https://{host}/")


def test_a_setting_allows_networks_but_never_the_metadata_of_a_cloud() -> None:
    rules = webhooks_of(
        load_settings(
            webhook_secret=SECRET, webhook_allowed_networks="10.20.0.0/16, 169.254.0.0/16,fd00::/8"
        )
    )
    assert rules is not None
    for address in ("10.20.3.4", "::ffff:10.20.3.4", "fd00::1", "8.8.8.8", "2606:4700::1"):
        assert rules.rules.allows(address), address
    for address in ("10.21.0.1", "169.254.169.254", "fd00:ec2::254", "127.0.0.1"):
        assert not rules.rules.allows(address), address


@pytest.mark.parametrize(
    "url",
    [
        *("http://hook.example.org/", "ftp://hook.example.org/", "hook.example.org", "https://"),
        *("https:///x", "https://user:pass@hook.example.org/", "https://hook.example.org/#x"),
        *("https://hook.example.org/a b", "https://hook.example.org/\n", "https://höök.example/"),
        *(
            "https://hook.example.org:99999/",
            "https://hook.example.org:0/",
            "https://[::1",
            "file:///etc/passwd",
        ),
        f"https://hook.example.org/{'x' * 2000}",
    ],
)
def test_what_is_no_url_to_post_to_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(OptionError) as caught:
        callback_of(url, load_settings(webhook_secret=SECRET))
    assert "example" not in caught.value.message


@pytest.mark.parametrize("secret", ["short", "whsec_c2hvcnQ=", "x" * 45, "QUFB" * 22])
def test_a_secret_that_is_none_is_a_wrong_setting_and_not_repeated(secret: str) -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_SECRET") as caught:
        webhooks_of(load_settings(webhook_secret=secret))
    assert secret not in caught.value.message


def test_networks_that_are_none_are_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="WEBHOOK_ALLOWED_NETWORKS"):
        webhooks_of(load_settings(webhook_secret=SECRET, webhook_allowed_networks="home"))


def test_a_service_with_a_wrong_secret_is_not_started(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", "a-short-one")
    end = cli("up", "--data-dir", tmp_path / "data")
    check_refused(end, "WEBHOOK_SECRET")
    assert "a-short-one" not in end.err
    assert not (tmp_path / "data").exists()


def test_no_text_of_the_settings_shows_the_secret() -> None:
    settings = load_settings(webhook_secret=SECRET)
    assert SECRET not in f"{settings!r} {settings} {webhooks_of(settings)!r}"
    assert str(KEY) not in repr(webhooks_of(settings))


def test_a_service_without_a_secret_takes_no_callback(taking: Taking, small_jpeg: bytes) -> None:
    before = taking.holds()
    for path, field in (("/upload", "file"), ("/batch-upload", "files")):
        answer = taking.client.post(
            path,
            files={field: ("a.jpg", small_jpeg)},
            data={"callback_url": "https://hook.example.org/"},
        )
        assert refusal(answer) == (422, "bad_option")
    assert taking.holds() == before
    assert "callback_url" not in taking.client.get("/openapi.json").text


def test_a_service_with_a_secret_takes_callbacks_it_may_post_to(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path, webhook_secret=SECRET)
    with serving(settings) as client:
        for url in ("http://hook.example.org/", "https://169.254.169.254/"):
            answer = client.post(
                "/upload", files={"file": ("a.jpg", small_jpeg)}, data={"callback_url": url}
            )
            assert refusal(answer) == (422, "bad_option")
        upload(client, small_jpeg, callback_url="https://hook.example.org/")
        upload(client, small_jpeg, callback_url="")
        assert "callback_url" in client.get("/openapi.json").text


def test_the_end_of_a_job_that_was_done_when_its_worker_died_is_reported_by_its_next_try(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path)
    jobs, box = runner(settings), open_outbox(connect(redis_url), settings)
    spec = job_spec(pipeline="test", targets=(), callback_url="https://hook.example.org/")
    jobs._processor.originals.put(spec.job_id, spec.kind, small_jpeg, spec.to_order())
    jobs.run(spec.job_id, retries_left=5, waited=0.0)
    box.remove(spec.job_id)  # as if the worker had died in between
    jobs.run(spec.job_id, retries_left=4, waited=0.0)
    ((event, number),) = box.take(9)
    assert (event.job_id, event.status, number) == (spec.job_id, JobStatus.COMPLETED, 1)


def test_the_end_of_a_job_that_failed_is_reported(redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(redis_url, tmp_path)
    jobs, box = runner(settings), open_outbox(connect(redis_url), settings)
    spec = job_spec(pipeline="test", targets=(), callback_url="https://hook.example.org/")
    jobs._processor.originals.put(spec.job_id, spec.kind, b"", spec.to_order())
    jobs._processor.store.delete(spec.input.key)
    with pytest.raises(Exception, match="original"):
        jobs.run(spec.job_id, retries_left=5, waited=0.0)
    ((event, _),) = box.take(9)
    assert (event.job_id, event.status) == (spec.job_id, JobStatus.FAILED)


def test_a_deleted_job_is_not_reported(redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(redis_url, tmp_path)
    box = open_outbox(connect(redis_url), settings)
    box.add(Event(NOBODY, "https://hook.example.org/", JobStatus.COMPLETED, 1.0))
    with serving(settings) as client:
        assert client.delete(f"/jobs/{NOBODY}").status_code == 200
    assert box.take(9) == []


def test_a_service_reports_its_jobs(
    redis_url: str, tmp_path: Path, small_jpeg: bytes, receiver: Receiver
) -> None:
    settings = light_settings(redis_url, tmp_path, webhook_secret=SECRET, **AT_HOME)
    with light_service(settings) as client, light_worker(settings):
        job_id = upload(client, small_jpeg, "planted-name.jpg", callback_url=receiver.url)
        assert ended(client, job_id)["status"] == "completed"
        eventually(lambda: receiver.received, "the end is reported")
    (got,) = receiver.received
    assert json.loads(got.body)["job_id"] == job_id
    assert b"planted" not in got.body
