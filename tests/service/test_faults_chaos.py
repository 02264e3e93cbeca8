"""Kills, stalls, resets and lost answers in random order while pictures flow, then the accounts."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fault_house import House, house
from tests.fault_proxy import HttpFault
from tests.parts import S3Server, ValkeyServer, eventually

PICTURES = 300
PAUSE_SECONDS = (1.0, 4.0)
"""Between one fault and the next."""

SEED = "BLURLINE_CHAOS_SEED"


def kill_a_worker(home: House, dice: random.Random) -> None:
    home.kill(dice.choice(home.workers))


def stop_a_worker(home: House, dice: random.Random) -> None:
    home.kill(dice.choice(home.workers), signal.SIGTERM)


def hold_a_worker(home: House, dice: random.Random) -> None:
    """Let it stand still for so long that others take its jobs, or not quite."""
    child = dice.choice(home.workers)
    pid = child.pid
    home.kill(child, signal.SIGSTOP)
    time.sleep(dice.uniform(1, 8))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def kill_the_api(home: House, dice: random.Random) -> None:
    home.kill(home.api)


def kill_redis(home: House, dice: random.Random) -> None:
    """After what it was told has come to the disk, as is promised for a second later."""
    with home.valkey.client() as redis:
        redis.set("mark", 1)
        redis.execute_command("WAITAOF", 1, 0, 0)
    home.injected["SIGKILL of redis"] += 1
    home.valkey.kill()
    home.valkey.start()


def stall_redis(home: House, dice: random.Random) -> None:
    home.redis_proxy.stall(dice.uniform(1, 7))


def reset_redis(home: House, dice: random.Random) -> None:
    home.redis_proxy.reset()


def reset_s3(home: House, dice: random.Random) -> None:
    assert home.s3_proxy is not None
    home.s3_proxy.reset()


def cut_s3(home: House, dice: random.Random) -> None:
    assert home.s3_proxy is not None
    home.s3_proxy.cut(after=dice.randint(1, 8000))


def trouble_s3(home: House, dice: random.Random) -> None:
    assert home.s3_proxy is not None
    act = dice.choice(("slow_down", "lose_answer"))
    methods = dice.choice(((), ("PUT",)))
    home.s3_proxy.on_requests(HttpFault(act, dice.randint(1, 20), methods))


FAULTS: tuple[Callable[[House, random.Random], None], ...] = (
    kill_a_worker,
    stop_a_worker,
    hold_a_worker,
    kill_the_api,
    kill_redis,
    stall_redis,
    reset_redis,
    reset_s3,
    cut_s3,
    trouble_s3,
)


@pytest.mark.long
def test_every_accepted_picture_ends_once_whatever_fails_meanwhile(
    own_valkey: ValkeyServer, s3_server: S3Server, tmp_path: Path, small_jpeg: bytes
) -> None:
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))
    print(f"\n{SEED}={seed}")  # noqa: T201 - to play it again
    dice, door = random.Random(seed), threading.Lock()
    with house(own_valkey, tmp_path, small_jpeg, s3_server, job_timeout=20) as home:

        def keep_sending() -> None:
            while len(home.accepted) < PICTURES:
                with door:
                    home.send()
                time.sleep(0.1)

        sender = threading.Thread(target=keep_sending)
        sender.start()
        while sender.is_alive():
            time.sleep(dice.uniform(*PAUSE_SECONDS))
            fault = dice.choice(FAULTS)
            if fault is kill_redis:
                # What was taken after the disk was waited for might be lost.
                with door:
                    fault(home, dice)
            else:
                fault(home, dice)
        sender.join()
        home.redis_proxy.heal()
        if home.s3_proxy is not None:
            home.s3_proxy.heal()
        eventually(home.healthy, "the house is whole again")
        account = home.account(doubtful=home.refused + home.unheard)
    assert account.completed >= PICTURES
