"""Bytes changed as a damaged or hostile sender would change them, by a seeded generator."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Values at which lengths and counts turn over."""

DEPTHS = (64, 1024, 1 << 30)
"""Changes lie within so many bytes of the beginning, where the structure of most files is."""

COUNTS = (1, 1, 1, 2, 3, 6)
"""Changes to one attempt: a single one gets further in what reads the bytes than six do."""

LONGEST = 40
"""Bytes that one change puts in, takes out or repeats."""

Change = Callable[[bytearray, int, Random], None]


def _byte(data: bytearray, place: int, chance: Random) -> None:
    data[place] = chance.randrange(256)


def _bit(data: bytearray, place: int, chance: Random) -> None:
    data[place] ^= 1 << chance.randrange(8)


def _number(data: bytearray, place: int, chance: Random) -> None:
    size = chance.choice((2, 4, 8))
    order = chance.choice(("big", "little"))
    old = int.from_bytes(data[place : place + size], order)
    value = chance.choice((*NUMBERS, old + 1, old - 1, old * 2))
    data[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, order)


def _cut(data: bytearray, place: int, chance: Random) -> None:
    del data[place : place + chance.randint(1, LONGEST)]


def _put(data: bytearray, place: int, chance: Random) -> None:
    data[place:place] = chance.randbytes(chance.randint(1, LONGEST))


def _repeat(data: bytearray, place: int, chance: Random) -> None:
    piece = data[place : place + chance.randint(1, LONGEST)]
    data[place:place] = piece * chance.choice((1, 2, 50))


def _move(data: bytearray, place: int, chance: Random) -> None:
    piece = data[place : place + chance.randint(1, LONGEST)]
    del data[place : place + len(piece)]
    there = chance.randint(0, len(data))
    data[there:there] = piece


def _end(data: bytearray, place: int, chance: Random) -> None:
    del data[place:]


CHANGES: Sequence[Change] = (_byte, _bit, _number, _number, _cut, _put, _repeat, _move, _end)


def mutated(data: bytes, chance: Random) -> bytes:
    """The bytes with a few changes, mostly near their beginning."""
    changed = bytearray(data)
    for _ in range(chance.choice(COUNTS)):
        if not changed:
            break
        place = chance.randrange(min(len(changed), chance.choice(DEPTHS)))
        chance.choice(CHANGES)(changed, place, chance)
    return bytes(changed)


def sometimes(data: bytes, chance: Random, share: float = 0.5) -> bytes:
    """The bytes, mutated in that share of the cases."""
    return mutated(data, chance) if chance.random() < share else data


def pieces(data: bytes, chance: Random, most: int = 6) -> tuple[bytes, ...]:
    """The bytes cut at up to `most` places, in which they are sent."""
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randint(0, most)))
    edges = [0, *places, len(data)]
    cut = (data[start:end] for start, end in pairwise(edges))
    return tuple(piece for piece in cut if piece)
