"""An attempt on a connection of its own, what is answered, and what is wrong with that."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic

from blurline.api.errors import STATUS_OF_CODE
from tests.fuzz.answers import Answer, NoHttpError, answers_in
from tests.fuzz.attempt import Attempt

ANSWER_SECONDS = 180.0
"""For which the answer to a whole request is awaited; `POST /blur/` itself waits for 30."""

SILENCE_SECONDS = 0.3
"""After which nobody waits any longer for an answer to what may not be a whole request."""

MOST_ANSWERED = 1 << 24
"""Bytes that are read of one connection."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What came back.

    Attributes:
        answers: in their order.
        seconds: from the last byte that was sent to the first that came back.
        wrong: what came back and can't be told as answers; empty if all could.
    """

    answers: tuple[Answer, ...]
    seconds: float
    wrong: str


def exchanged(address: tuple[str, int], attempt: Attempt) -> Exchange:
    """Send the attempt, and read until its answer is there or the service hangs up or is silent.

    Raises:
        OSError: nobody listens at the address.
    """
    received, answers, seconds, is_all = b"", [], 0.0, False
    with contextlib.closing(socket.create_connection(address, ANSWER_SECONDS)) as caller:
        # Who is refused early may be hung up on while it sends; its answer is there all the same.
        with contextlib.suppress(OSError):
            for piece in attempt.pieces:
                caller.sendall(piece)
        started = monotonic()
        caller.settimeout(ANSWER_SECONDS if attempt.is_whole else SILENCE_SECONDS)
        try:
            while not is_all and len(received) < MOST_ANSWERED:
                piece = _received(caller)
                seconds = seconds or monotonic() - started
                received += piece
                is_all = not piece
                answers = _answers(received, attempt, is_all=is_all)
                if attempt.is_whole and answers:
                    break
        except TimeoutError:
            seconds = seconds or monotonic() - started
        except NoHttpError as error:
            return Exchange(tuple(answers), seconds, str(error))
    return Exchange(tuple(answers), seconds, "")


def _answers(received: bytes, attempt: Attempt, *, is_all: bool) -> list[Answer]:
    to_head = attempt.method == "HEAD"
    try:
        return answers_in(received, to_head=to_head, is_all=is_all)
    except NoHttpError:
        if attempt.is_whole or not to_head:
            raise
        # Where a request can't be read, nobody knows that it was to be a HEAD.
        return answers_in(received, to_head=False, is_all=is_all)


def _received(caller: socket.socket) -> bytes:
    """The next bytes; none once the service has hung up, in whichever way.

    Raises:
        TimeoutError: it is silent.
    """
    try:
        return caller.recv(65_536)
    except ConnectionError:
        return b""


def faults(attempt: Attempt, exchange: Exchange, slow_seconds: float) -> Iterator[tuple[str, str]]:
    """What is wrong, in a word and a sentence; nothing of what was sent is in them."""
    if exchange.wrong:
        yield "no HTTP", exchange.wrong
    elif attempt.is_whole and not exchange.answers:
        yield "no answer", "a whole request was not answered"
    if exchange.seconds > slow_seconds:
        yield "slow", f"the answer took more than {slow_seconds:g} s"
    for number, answer in enumerate(exchange.answers):
        if answer.status >= 500 and answer.status != 503:
            yield "status", f"answered {answer.status}"
        if answer.status >= 400 and not (attempt.method == "HEAD" and number == 0):
            yield from _faults_of_error(answer)


def _faults_of_error(answer: Answer) -> Iterator[tuple[str, str]]:
    """An error has the one shape, a code that is documented for its status, and a sentence."""
    error = answer.content.get("error") if isinstance(answer.content, dict) else None
    if (
        not isinstance(error, dict)
        or set(answer.content) != {"error"}
        or set(error) != {"code", "message"}
        or not all(isinstance(text, str) and text for text in error.values())
    ):
        yield "shape", f"an answer {answer.status} is not of the JSON shape of errors"
    elif STATUS_OF_CODE.get(error["code"], 400) != answer.status and answer.status < 500:
        yield "shape", f"{error['code']} was answered {answer.status}"
    elif answer.status == 503 and "retry-after" not in answer.headers:
        yield "shape", "an answer 503 has no Retry-After"
