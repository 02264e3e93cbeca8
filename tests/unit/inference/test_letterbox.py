"""How a picture lies in a network's input, and the way back."""

import numpy as np
import pytest

from blurline.inference.letterbox import GREY, SHAPES, STRIDE, Letterbox, input_size, letterbox
from tests.parts import drawing

SIZES = [(1280, 720), (720, 1280), (810, 1080), (640, 640), (1920, 1080), (333, 77), (97, 1001)]


@pytest.mark.parametrize(
    ("size", "input_size"),
    [
        ((1280, 720), (640, 384)),
        ((720, 1280), (384, 640)),
        ((810, 1080), (480, 640)),
        ((640, 480), (640, 480)),
        ((4000, 3000), (640, 480)),
        ((100, 100), (640, 640)),
        ((1, 1), (640, 640)),
        ((6000, 4000), (640, 448)),
        ((8000, 4000), (640, 320)),
        ((640, 400), (640, 448)),
        ((640, 490), (640, 640)),
        ((5000, 1), (640, 160)),
        ((1, 5000), (160, 640)),
    ],
)
def test_the_input_is_the_smallest_usual_shape_in_whole_strides(
    size: tuple[int, int], input_size: tuple[int, int]
) -> None:
    fitted, _ = letterbox(np.zeros((size[1], size[0], 3), np.uint8), 640)
    assert (fitted.shape[1], fitted.shape[0]) == input_size


@pytest.mark.parametrize("long_side", [320, 500, 640])
@pytest.mark.parametrize("size", SIZES)
def test_the_picture_lies_in_the_middle_on_grey(size: tuple[int, int], long_side: int) -> None:
    fitted, placement = letterbox(np.zeros((size[1], size[0], 3), np.uint8), long_side)
    height, width = fitted.shape[:2]
    assert height % STRIDE == width % STRIDE == 0
    dark = (fitted == 0).all(axis=2)
    top, left = np.argwhere(dark).min(axis=0)
    bottom, right = np.argwhere(dark).max(axis=0) + 1
    assert dark[top:bottom, left:right].all()
    assert (fitted[~dark] == GREY).all()
    assert (left, top) == (placement.left, placement.top)
    assert 0 <= (width - right) - left <= 1
    assert 0 <= (height - bottom) - top <= 1
    assert max(right - left, bottom - top) == long_side


@pytest.mark.parametrize("size", SIZES)
def test_what_is_found_in_the_input_lies_in_the_same_place_of_the_picture(
    size: tuple[int, int],
) -> None:
    width, height = size
    box = np.array([width * 0.3, height * 0.2, width * 0.8, height * 0.9]).round()
    left, top, right, bottom = box.astype(int)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top:bottom, left:right] = 255
    fitted, placement = letterbox(pixels, 640)
    bright = np.argwhere(fitted[..., 0] > 180)
    seen = np.concatenate([bright.min(axis=0)[::-1], bright.max(axis=0)[::-1] + 1])
    found = placement.to_picture(seen[None].astype(np.float32))[0]
    one_input_pixel = max(size) / 640
    assert np.abs(found - box).max() <= 1 + one_input_pixel


def test_a_box_goes_there_and_back() -> None:
    placement = Letterbox(scale=0.5, left=3, top=12)
    box = np.array([[100, 200, 301, 402.5]], np.float32)
    there = box * 0.5 + np.array([3, 12, 3, 12], np.float32)
    assert placement.to_picture(there).tolist() == box.tolist()


def test_a_picture_that_fits_is_not_touched() -> None:
    pixels = drawing(640, 480)
    fitted, placement = letterbox(pixels, 640)
    assert (fitted == pixels).all()
    assert placement == Letterbox(1.0, 0, 0)


def test_pictures_of_every_shape_make_few_sizes_of_input() -> None:
    sizes = {input_size(short, 800) for short in range(1, 801)}
    assert len(sizes) <= len(SHAPES)
    assert all(side % STRIDE == 0 for size in sizes for side in size)
