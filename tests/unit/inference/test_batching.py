"""Pictures of many threads in batches, with real threads and a small network of numpy."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from blurline.imaging.decode import Pixels
from blurline.inference.batching import Batcher
from blurline.inference.engine import Arithmetic, Outputs

LONG = 60.0
"""Seconds that would fail a test: what ends sooner with this delay did not wait for company."""

Batch = NDArray[np.uint8]


class Greys:
    """A network that answers with each picture's mean and its first pixel.

    It writes down the shape of every batch, and stands still while its gate is shut.
    """

    labels = ("grey",)
    fixed_size = (32, 64)
    precision: Arithmetic = "f32"

    def __init__(
        self, check: Callable[[Batch], None] = lambda batch: None, largest_batch: int | None = None
    ) -> None:
        self.largest_batch = largest_batch
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self._check = check

    def run(self, pictures: Batch) -> Outputs:
        self.shapes.append(pictures.shape)
        self.threads.add(threading.current_thread().name)
        self.entered.release()
        assert self.gate.wait(LONG)
        self._check(pictures)
        means = pictures.mean(axis=(1, 2), dtype=np.float32)
        return {"mean": means, "first": pictures[:, :1, :1].astype(np.float32)}

    @property
    def sizes(self) -> list[int]:
        return [shape[0] for shape in self.shapes]


def picture(value: int, width: int = 64, height: int = 32) -> Pixels:
    return np.full((height, width, 3), value, np.uint8)


def value_of(outputs: Outputs) -> int:
    """The grey of the picture that these outputs belong to."""
    assert outputs["mean"].shape == (1, 3)
    assert outputs["first"].shape == (1, 1, 1, 3)
    (value,) = {*outputs["mean"].ravel().tolist(), *outputs["first"].ravel().tolist()}
    return int(value)


class Callers:
    """Threads that call a batcher, one for each picture."""

    def __init__(self, engine: Batcher, network: Greys, pool: ThreadPoolExecutor) -> None:
        self.engine = engine
        self._network = network
        self._pool = pool

    def call(self, *pictures: Pixels) -> list[Future[Outputs]]:
        """Calls that wait for their batch, in this order, since the network is at work."""
        calls = []
        for pixels in pictures:
            before = self.engine.waiting
            calls.append(self._pool.submit(self.engine.infer, pixels))
            while self.engine.waiting == before:
                time.sleep(0.001)
        return calls

    @contextmanager
    def while_busy(self) -> Iterator[None]:
        """While the network is at work on a picture of its own."""
        self._network.gate.clear()
        first = self._pool.submit(self.engine.infer, picture(0, 32, 32))
        assert self._network.entered.acquire(timeout=LONG)
        try:
            yield
        finally:
            self._network.gate.set()
        assert value_of(first.result(LONG)) == 0


@contextmanager
def calling(network: Greys, *, max_size: int = 4, max_delay: float = 0.005) -> Iterator[Callers]:
    engine = Batcher(network, max_size=max_size, max_delay=max_delay)
    try:
        with ThreadPoolExecutor(24) as pool:
            yield Callers(engine, network, pool)
    finally:
        network.gate.set()
        engine.close()


def test_every_caller_gets_its_own_pictures_outputs() -> None:
    network = Greys()
    sizes = [(64, 32), (32, 64), (96, 96)]
    values = [index % 256 for index in range(600)]
    with calling(network) as callers, ThreadPoolExecutor(24) as pool:
        pictures = [picture(value, *sizes[index % 3]) for index, value in enumerate(values)]
        assert [value_of(own) for own in pool.map(callers.engine.infer, pictures)] == values
    assert sum(network.sizes) == len(values)


def test_a_batch_is_of_one_size_and_no_larger_than_it_may_be() -> None:
    network = Greys()
    with calling(network, max_size=5) as callers, ThreadPoolExecutor(24) as pool:
        pictures = [picture(1, 32 * (1 + index % 2), 32) for index in range(300)]
        list(pool.map(callers.engine.infer, pictures))
    assert max(network.sizes) <= 5
    assert {shape[1:] for shape in network.shapes} == {(32, 32, 3), (32, 64, 3)}
    assert sum(network.sizes) == 300


def test_a_full_batch_does_not_wait() -> None:
    network = Greys()
    with calling(network, max_delay=LONG) as callers, ThreadPoolExecutor(4) as pool:
        values = pool.map(callers.engine.infer, map(picture, range(4)))
        assert [value_of(own) for own in values] == [0, 1, 2, 3]
    assert network.sizes == [4]


@pytest.mark.parametrize("delay", [0, 0.005])
def test_a_lone_caller_is_answered_without_company(delay: float) -> None:
    network = Greys()
    with calling(network, max_delay=delay) as callers:
        answers = [callers.engine.infer(picture(value)) for value in range(5)]
    assert [value_of(own) for own in answers] == [0, 1, 2, 3, 4]
    assert network.sizes == [1] * 5


def test_those_that_come_while_a_batch_runs_form_the_next_ones() -> None:
    network = Greys()
    with calling(network) as callers:
        with callers.while_busy():
            calls = callers.call(*map(picture, range(10, 16)))
        assert [value_of(call.result(LONG)) for call in calls] == [10, 11, 12, 13, 14, 15]
    assert network.sizes == [1, 4, 2]


def test_of_batches_that_are_due_the_one_that_waits_longest_goes_first() -> None:
    network = Greys()
    with calling(network, max_delay=0) as callers:
        with callers.while_busy():
            calls = callers.call(picture(1, 96, 96), *[picture(2)] * 4, picture(1, 96, 96))
        for call in calls:
            call.result(LONG)
    assert network.shapes[1:] == [(2, 96, 96, 3), (4, 32, 64, 3)]


def test_a_batch_that_waits_for_company_does_not_hold_up_a_full_one_of_another_size() -> None:
    network = Greys()
    with calling(network, max_size=2, max_delay=LONG) as callers:
        early = callers.call(picture(1))
        with ThreadPoolExecutor(2) as pool:
            others = pool.map(callers.engine.infer, [picture(2, 96, 96), picture(3, 96, 96)])
            assert [value_of(own) for own in others] == [2, 3]
        assert not early[0].done()
        assert value_of(callers.engine.infer(picture(4))) == 4
        assert value_of(early[0].result(LONG)) == 1


def test_the_network_runs_in_one_thread_that_is_no_callers() -> None:
    network = Greys()
    with calling(network) as callers, ThreadPoolExecutor(8) as pool:
        list(pool.map(callers.engine.infer, [picture(0)] * 50))
    assert network.threads == {"batcher"}


def test_a_network_that_takes_one_picture_gets_one_at_a_time() -> None:
    network = Greys(largest_batch=1)
    with calling(network, max_delay=LONG) as callers, ThreadPoolExecutor(4) as pool:
        values = pool.map(callers.engine.infer, map(picture, range(9)))
        assert [value_of(own) for own in values] == list(range(9))
    assert network.sizes == [1] * 9


def test_what_the_network_says_of_itself_is_passed_on() -> None:
    with calling(Greys()) as callers:
        assert callers.engine.labels == ("grey",)
        assert callers.engine.fixed_size == (32, 64)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_error_reaches_exactly_its_batch(error: type[BaseException]) -> None:
    def check(batch: Batch) -> None:
        if (batch == 13).any():
            raise error("13")

    network = Greys(check)
    with calling(network) as callers:
        with callers.while_busy():
            calls = callers.call(*map(picture, range(10, 18)))
        errors = [call.exception(LONG) for call in calls[:4]]
        assert [type(one) for one in errors] == [RuntimeError] * 4
        assert len(set(map(id, errors))) == 4, "each caller raises one of its own"
        assert {type(one.__cause__) for one in errors if one} == {error}
        assert [value_of(call.result(LONG)) for call in calls[4:]] == [14, 15, 16, 17]
        assert value_of(callers.engine.infer(picture(18))) == 18
    assert network.sizes == [1, 4, 4, 1]


def test_a_batch_that_does_not_fit_is_run_in_halves() -> None:
    def check(batch: Batch) -> None:
        if len(batch) > 2:
            raise MemoryError

    network = Greys(check)
    with calling(network, max_size=8) as callers:
        with callers.while_busy():
            calls = callers.call(*map(picture, range(7)))
        assert [value_of(call.result(LONG)) for call in calls] == list(range(7))
    assert network.sizes == [1, 7, 4, 2, 2, 3, 2, 1]


def test_a_picture_that_does_not_fit_alone_fails_alone() -> None:
    def check(batch: Batch) -> None:
        if (batch == 13).any():
            raise MemoryError

    network = Greys(check)
    with calling(network) as callers:
        with callers.while_busy():
            calls = callers.call(*map(picture, range(11, 15)))
        error = calls.pop(2).exception(LONG)
        assert isinstance(error, RuntimeError)
        assert isinstance(error.__cause__, MemoryError)
        assert [value_of(call.result(LONG)) for call in calls] == [11, 12, 14]


def test_a_network_that_loses_a_picture_answers_nobody() -> None:
    class Forgetful(Greys):
        def run(self, pictures: Batch) -> Outputs:
            return super().run(pictures[:1])

    network = Forgetful()
    with calling(network) as callers:
        with callers.while_busy():
            calls = callers.call(picture(1), picture(2))
        for call in calls:
            with pytest.raises(RuntimeError) as caught:
                call.result(LONG)
            assert "each picture" in str(caught.value.__cause__)


def test_the_end_fails_those_who_wait_and_lets_the_batch_that_runs_finish() -> None:
    network = Greys()
    with calling(network, max_delay=0) as callers:
        with callers.while_busy(), ThreadPoolExecutor(1) as pool:
            calls = callers.call(picture(1), picture(2, 96, 96))
            end = pool.submit(callers.engine.close)
            while not callers.engine.closed:
                time.sleep(0.001)
            assert not end.done(), "the network is still at work"
            network.gate.set()
            end.result(LONG)
        for call in calls:
            with pytest.raises(RuntimeError) as caught:
                call.result(LONG)
            assert "closed" in str(caught.value.__cause__)
    assert network.sizes == [1]


def test_after_the_end_there_is_no_thread_and_no_answer() -> None:
    before = threading.active_count()
    engine = Batcher(Greys(), max_size=4, max_delay=LONG)
    assert threading.active_count() == before + 1
    engine.close()
    engine.close()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        engine.infer(picture(1))


@pytest.mark.process
def test_a_batcher_that_nobody_closed_does_not_keep_the_process_alive() -> None:
    program = (
        "from tests.unit.inference.test_batching import Batcher, Greys, picture\n"
        "Batcher(Greys(), max_size=4, max_delay=0).infer(picture(1))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=LONG)
