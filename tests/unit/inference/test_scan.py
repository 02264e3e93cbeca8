"""Passes and tiles: together they show all of a picture, and no size too many."""

from itertools import pairwise

import numpy as np
import pytest

from blurline.inference.scan import Scan

SIZES = [(1280, 720), (720, 1280), (4000, 3000), (8000, 4000), (12000, 900), (1, 9000), (33, 31)]


@pytest.mark.parametrize("size", SIZES)
def test_a_pass_keeps_the_proportions(size: tuple[int, int]) -> None:
    width, height = size
    for pass_width, pass_height in Scan((640, 1920)).pass_sizes(width, height):
        assert abs(pass_width / width - pass_height / height) * min(size) <= 1


def test_only_a_picture_that_would_shrink_too_much_gets_one_pass_more() -> None:
    scan = Scan((800,), least_scale=0.4)
    assert list(scan.pass_sizes(1920, 1080)) == [(800, 450)]
    assert list(scan.pass_sizes(2000, 1000)) == [(800, 400)]
    assert list(scan.pass_sizes(4000, 3000)) == [(800, 600), (1600, 1200)]


def test_two_passes_that_would_show_nearly_the_same_are_made_one() -> None:
    scan = Scan((320, 750), least_scale=0.4)
    assert list(scan.pass_sizes(1875, 1000)) == [(320, 171), (750, 400)]
    assert list(scan.pass_sizes(1920, 1000)) == [(320, 167), (896, 467)]
    assert list(scan.pass_sizes(2050, 1000)) == [(320, 156), (957, 467)]
    assert list(scan.pass_sizes(2080, 1000)) == [(320, 154), (750, 361), (832, 400)]


def test_passes_that_are_the_same_are_made_once() -> None:
    assert list(Scan((640, 1280), enlarge=2).pass_sizes(300, 200)) == [(600, 400)]


@pytest.mark.parametrize("tile", [320, 640, 1280])
@pytest.mark.parametrize("size", SIZES)
def test_tiles_cover_everything_and_stay_inside(size: tuple[int, int], tile: int) -> None:
    width, height = size
    seen = np.zeros((height, width), np.bool_)
    for left, top, right, bottom in Scan((640,), tile=tile).tiles(width, height):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert max(right - left, bottom - top) <= tile
        seen[top:bottom, left:right] = True
    assert seen.all()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_no_larger_than_the_overlap_is_whole_in_some_tile(size: tuple[int, int]) -> None:
    scan = Scan((640,), tile=640, overlap=128)
    for length, axis in zip(size, (0, 1), strict=True):
        cuts = sorted({(tile[axis], tile[axis + 2]) for tile in scan.tiles(*size)})
        for (_, end), (start, _) in pairwise(cuts):
            assert end - start >= 128, (length, cuts)


def test_all_tiles_of_a_pass_have_one_size() -> None:
    for size in SIZES:
        tiles = Scan((640,), tile=640).tiles(*size)
        assert len({(right - left, bottom - top) for left, top, right, bottom in tiles}) == 1
