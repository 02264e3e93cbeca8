"""Reports ends of jobs to the URLs that callers gave: signed, again and again, to public addresses.

Headers and signature follow Standard Webhooks (https://www.standardwebhooks.com), so receivers can
check them with its libraries.
"""

import asyncio
import hmac
import json
import logging
import socket
import threading
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from blurline import __version__, metrics
from blurline.errors import OptionError, QueueUnavailableError
from blurline.log import about
from blurline.settings import Settings
from blurline.webhooks.outbox import LEASE_SECONDS, Event, Outbox
from blurline.webhooks.rules import CallbackRules, webhooks_of

WAITS = (5, 30, 120, 600, 1800, 3600, 7200, 14400)
"""Seconds between the tries of one event: nine tries in nearly eight hours."""

TRY_SECONDS = 10
"""How long one try may take in all, however slowly the receiver answers."""

LOOKUP_SECONDS = LEASE_SECONDS - 2 * TRY_SECONDS
"""How long a name may be looked up before it. A look-up can't be cut off: a thread has it until its
end, so for so long it counts as under way."""

AT_ONCE = 64
"""Tries under way at a time. The outbox gives a caller and a host a part of them only."""

IDLE_SECONDS = 1
GONE = 410
"""By this status a receiver says that it wants no more."""

log = logging.getLogger(__name__)


class ForbiddenAddressError(OptionError):
    """A name stands for an address that nothing is posted to."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a try ended: delivered, for good or not, and in a word why."""

    delivered: bool
    final: bool
    why: str


class Messenger:
    """Delivers what is in the outbox. Any number of processes may have one."""

    def __init__(self, outbox: Outbox, rules: CallbackRules, key: bytes) -> None:
        self._outbox = outbox
        self._rules = rules
        self._key = key

    def run(self, stopping: threading.Event) -> None:
        """Deliver until told to stop, then end what is under way."""
        asyncio.run(self._run(stopping))

    async def _run(self, stopping: threading.Event) -> None:
        running: set[asyncio.Task[None]] = set()
        # Names are looked up in threads: as many as tries, or slow ones would hold up the others.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(AT_ONCE))
        async with _client() as client:
            while not stopping.is_set():
                taken = self._take(AT_ONCE - len(running))
                for event, number in taken:
                    task = asyncio.create_task(self._handle(client, event, number))
                    running.add(task)
                    task.add_done_callback(running.discard)
                if running and (not taken or len(running) >= AT_ONCE):
                    # One that has ended may make room for others of its caller or host.
                    await asyncio.wait(
                        running, timeout=IDLE_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                elif not taken:
                    await asyncio.sleep(IDLE_SECONDS)
            if running:
                await asyncio.wait(running)

    def _take(self, most: int) -> list[tuple[Event, int]]:
        try:
            return self._outbox.take(most)
        except QueueUnavailableError:
            return []

    async def _handle(self, client: httpx.AsyncClient, event: Event, number: int) -> None:
        """One try of one event, and what follows from its end."""
        with about(job_id=event.job_id, request_id=event.request_id):
            ending = await self._try(client, event, number)
            try:
                self._settle(event, number, ending)
            except QueueUnavailableError:
                log.debug("the end of a webhook's try could not be noted; it will be tried again")

    def _settle(self, event: Event, number: int, ending: Ending) -> None:
        if ending.delivered:
            metrics.WEBHOOKS.labels("delivered").inc()
            self._outbox.remove(event.job_id)
        elif ending.final or number > len(WAITS):
            metrics.WEBHOOKS.labels("given_up").inc()
            log.warning("webhook given up after try %d: %s", number, ending.why)
            self._outbox.remove(event.job_id)
        else:
            metrics.WEBHOOKS.labels("retried").inc()
            wait = WAITS[number - 1]
            log.info("webhook not delivered, next try in %d s: %s", wait, ending.why)
            self._outbox.put_off(event.job_id, wait)

    async def _try(self, client: httpx.AsyncClient, event: Event, number: int) -> Ending:
        try:
            self._rules.check(event.url)
            url = httpx.URL(event.url)
            async with asyncio.timeout(LOOKUP_SECONDS):
                addresses = await self._addresses(url.raw_host.decode("ascii"), url.port)
            address = addresses[(number - 1) % len(addresses)]
            async with asyncio.timeout(TRY_SECONDS):
                status = await self._post(client, event, url, address)
        except OptionError:
            return Ending(False, True, "its URL or address is one that nothing is posted to")
        except Exception as error:  # whatever a receiver or a network can come up with
            return Ending(False, False, type(error).__name__)
        return Ending(200 <= status < 300, status == GONE, f"status {status}")

    async def _post(
        self, client: httpx.AsyncClient, event: Event, url: httpx.URL, address: str
    ) -> int:
        """The status of the receiver's answer, of which nothing else is read.

        The connection goes to the very address that was checked: a name that means another address
        a moment later gains nothing.
        """
        body = body_of(event)
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": f"blurline/{__version__}",
            **signed_headers(self._key, event_id(event), int(time.time()), body),
        }
        async with client.stream(
            "POST",
            url.copy_with(host=address),
            content=body,
            headers=headers,
            # Whose certificate is asked for.
            extensions={"sni_hostname": url.raw_host.decode("ascii").strip("[]")},
        ) as answer:
            return answer.status_code

    async def _addresses(self, host: str, port: int | None) -> list[str]:
        """What the name stands for.

        Raises:
            OSError: nothing, at this moment.
            ForbiddenAddressError: an address that nothing is posted to, be it one among others.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        addresses = [str(place[0]) for *_, place in found]
        if not all(map(self._rules.allows, addresses)):
            raise ForbiddenAddressError("the callback's name stands for a forbidden address")
        return addresses


def open_messenger(settings: Settings, outbox: Outbox) -> Messenger | None:
    """The messenger of these settings; None if they have no webhooks.

    Raises:
        SettingsError: a setting of webhooks can't be used.
    """
    webhooks = webhooks_of(settings)
    return None if webhooks is None else Messenger(outbox, webhooks.rules, webhooks.key)


def event_id(event: Event) -> str:
    """The same in all tries, so that a receiver can tell one that it has had already."""
    return f"evt_{event.job_id}"


def body_of(event: Event) -> bytes:
    """What is posted: that the job has ended, and nothing about the picture."""
    content = {
        "type": f"job.{event.status}",
        "event_id": event_id(event),
        "job_id": event.job_id,
        "status": event.status,
        "finished_at": event.finished_at,
    }
    return json.dumps(content).encode()


def signed_headers(key: bytes, event: str, moment: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks; `moment` is of this try, in seconds since the epoch.

    The signature is an HMAC-SHA256 of id, moment and body, with dots between them.
    """
    digest = hmac.digest(key, f"{event}.{moment}.".encode() + body, "sha256")
    return {
        "webhook-id": event,
        "webhook-timestamp": str(moment),
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }


def _client() -> httpx.AsyncClient:
    """Follows no redirect, keeps no connection, takes no proxy or password from the environment."""
    trusted = httpx.create_ssl_context(trust_env=False)
    # The system's authorities too, and those of `SSL_CERT_FILE`, such as a company's own.
    trusted.load_default_certs()
    return httpx.AsyncClient(
        verify=trusted,
        trust_env=False,
        follow_redirects=False,
        timeout=TRY_SECONDS,
        limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0),
    )
