"""What one process holds of uploads is bounded, and given back."""

import asyncio
import resource

import pytest

from blurline.api.errors import RequestError
from blurline.api.spool import MEMORY_BYTES, RequestSpool, Spool, SpooledFile


def file_in(spooled: RequestSpool, start: int, size: int) -> SpooledFile:
    return SpooledFile("a.jpg", start, size, spooled)


@pytest.mark.parametrize("size", [1000, 3 * MEMORY_BYTES])
def test_files_lie_one_behind_the_other_and_come_back_as_they_were(size: int) -> None:
    first, second = b"a" * size, b"b" * size

    async def come_back() -> list[bytes]:
        with Spool(10 * size, 10 * size).request() as spooled:
            for piece in (first[:10], first[10:], second):
                await spooled.write(piece)
            files = [file_in(spooled, size, size), file_in(spooled, 0, size)]
            return [await file.read() for file in files]

    assert asyncio.run(come_back()) == [second, first]


def test_v5_2_1_bytes_beyond_the_bound_are_refused_until_others_are_gone() -> None:
    spool = Spool(100, 100)
    with spool.request() as first:
        first.take(60)
        with spool.request() as second, pytest.raises(RequestError) as caught:
            second.take(41)
        assert caught.value.code == "busy"
        with spool.request() as third:
            third.take(40)
    with spool.request() as last:
        last.take(100)


def test_v5_2_1_a_full_disk_is_said_to_be_a_lack_of_room() -> None:
    async def fill() -> None:
        with Spool(10 * MEMORY_BYTES, 1).request() as spooled:
            await spooled.write(bytes(3 * MEMORY_BYTES))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MEMORY_BYTES, before[1]))
    try:
        with pytest.raises(RequestError) as caught:
            asyncio.run(fill())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.code == "busy"


def test_v5_2_1_a_picture_waits_until_there_is_room_for_it_in_memory() -> None:
    async def wait_for_room() -> None:
        spool = Spool(100, 10)
        with spool.request() as spooled:
            await spooled.write(b"abcdefgh")
            small, whole = file_in(spooled, 0, 3), file_in(spooled, 0, 8)
            async with spool.in_memory(whole) as held:
                assert held == b"abcdefgh"
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05), spool.in_memory(small):
                        raise AssertionError("there was no room")
            async with spool.in_memory(small) as held, spool.in_memory(small) as other:
                assert held == other == b"abc"

    asyncio.run(wait_for_room())


def test_a_picture_above_all_room_is_taken_alone() -> None:
    async def take() -> bytes:
        spool = Spool(100, 4)
        with spool.request() as spooled:
            await spooled.write(b"abcdefgh")
            async with spool.in_memory(file_in(spooled, 0, 8)) as held:
                return held

    assert asyncio.run(take()) == b"abcdefgh"


def test_files_that_are_read_at_the_same_time_are_not_mixed_up() -> None:
    contents = [bytes([number]) * 200_000 for number in range(60)]

    async def reads() -> list[bytes]:
        with Spool(100 * MEMORY_BYTES, 100 * MEMORY_BYTES).request() as request:
            files, start = [], 0
            for content in contents:
                request.take(len(content))
                await request.write(content)
                files.append(SpooledFile("a.jpg", start, len(content), request))
                start += len(content)
            return await asyncio.gather(*(file.read() for file in files))

    for _ in range(5):
        assert asyncio.run(reads()) == contents
