"""Networks of ncnn, made into ONNX."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blurline.errors import ModelError
from blurline.inference.openvino import CORE
from blurline.models.catalogue import catalogue
from blurline.models.conversion import Converted
from blurline.models.ncnn import LONGEST_TEXT, MOST_LAYERS, onnx_of
from tests.networks import file_of

SPOTS = [(0, 0, 0), (1, 7, 9), (2, 12, 30), (0, 19, 21), (1, 5, 35)]
"""Channel, row and column."""

# ncnn 1.0.20261020 in 32-bit floats, without Winograd's convolutions, on the files of the
# catalogue's wheels: the outputs' shape, values at SPOTS, mean and standard deviation.
NCNN = {
    "waifu2x_photo": ((20, 36), (0.21098, 0.48745, 0.81343, 0.51955, 0.62049), 0.562055, 0.151736),
    "waifu2x_photo_1": ((20, 36), (0.2108, 0.4899, 0.82054, 0.51656, 0.62362), 0.564236, 0.153654),
    "waifu2x_photo_2": ((20, 36), (0.2068, 0.48992, 0.81752, 0.51504, 0.62328), 0.562546, 0.1538),
    "waifu2x_photo_3": ((20, 36), (0.20941, 0.48858, 0.81863, 0.52056, 0.62151), 0.56361, 0.152918),
    "realesr_x2": ((48, 64), (0.03599, 0.27618, 0.62308, 0.30936, 0.41068), 0.559541, 0.221722),
    "realesr_x4": ((96, 128), (0.03564, 0.21803, 0.45863, 0.14616, 0.28445), 0.559541, 0.221488),
    "realesrgan_x4": ((96, 128), (0.09742, 0.21763, 0.44594, 0.14959, 0.27577), 0.540958, 0.207689),
}

HEAD = "7767517\n2 2\nInput in 0 1 in\n"
CONVOLUTION = "Convolution c 1 1 in out 0=2 1=1 5=1 6=6"
WEIGHTS = struct.pack("<I6f2f", 0, *range(8))
NEGATIVE = struct.pack("<I8f", 0, *[-1] * 8)


def made(line: str, weights: bytes = b"") -> bytes:
    """An ONNX file of a network with that one layer."""
    return onnx_of(f"{HEAD}{line}\n".encode(), weights)


def run(file: bytes | Path, picture: np.ndarray) -> np.ndarray:
    """The only output of a network."""
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    network = CORE.compile_model(CORE.read_model(file), "CPU", options)
    return np.array(network(picture)[0])


@pytest.mark.parametrize("name", NCNN)
def test_a_network_answers_as_ncnn_does(name: str) -> None:
    row, column, colour = np.mgrid[0:24, 0:32, 0:3]
    picture = ((row * 5 + column * 3 + colour * 40) % 256).astype(np.float32) / 255
    output = run(file_of(name), np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))[0]

    shape, values, mean, deviation = NCNN[name]
    assert output.shape == (3, *shape)
    assert [output[spot] for spot in SPOTS] == pytest.approx(values, abs=2e-5)
    assert (output.mean(), output.std()) == pytest.approx((mean, deviation), abs=2e-5)


def test_every_network_of_ncnn_is_compared() -> None:
    converted = {name for name, model in catalogue().items() if isinstance(model.source, Converted)}
    assert set(NCNN) == converted


def test_the_same_files_make_the_same_bytes() -> None:
    assert made(CONVOLUTION, WEIGHTS) == made(CONVOLUTION, WEIGHTS)


def test_weights_of_half_floats_are_read() -> None:
    numbers = [0.5, -2, 3, 0.25, 1, 8, -1]
    half = struct.pack("<I3e2x", 0x01306B47, *numbers[:3])
    whole = struct.pack("<I3f", 0x0002C056, *numbers[:3])
    line = "Convolution c 1 1 in out 0=1 1=1 6=3"
    assert made(line, half) == made(line, whole)


@pytest.mark.parametrize(
    ("line", "weights", "expected"),
    [
        (CONVOLUTION, WEIGHTS, [[[6 + 8]], [[7 + 26]]]),
        (
            f"{CONVOLUTION} 9=2 -23310=1,5e-1",
            struct.pack("<I8f", 0, *[-1] * 8),
            [[[-3.5]], [[-3.5]]],
        ),
        ("Deconvolution d 1 1 in out 0=1 1=2 3=2 6=12", struct.pack("<I12f", 0, *range(12)), None),
        ("PReLU p 1 1 in out 0=3", struct.pack("<3f", 9, 9, 9), [[[1]], [[2]], [[3]]]),
        ("Interp i 1 1 in out 0=1 1=2.0 2=1.0", b"", [[[1], [1]], [[2], [2]], [[3], [3]]]),
        ("Eltwise e 2 1 in in out 0=1 -23301=2,2.0,1.0", b"", [[[3]], [[6]], [[9]]]),
        ("BinaryOp b 2 1 in in out", b"", [[[2]], [[4]], [[6]]]),
        ("Split s 1 1 in out", b"", [[[1]], [[2]], [[3]]]),
    ],
)
def test_a_layer_does_what_ncnn_says(
    line: str, weights: bytes, expected: list[list[list[float]]] | None
) -> None:
    picture = np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1)
    if expected is None:
        # Of each colour four weights: 1 * (0..3) + 2 * (4..7) + 3 * (8..11).
        expected = [[[32, 38], [44, 50]]]
    assert run(made(line, weights), picture)[0].tolist() == expected


@pytest.mark.parametrize(
    "line",
    [
        "Softmax s 1 1 in out",
        "Convolution",
        "Convolution c 1",
        "Convolution c 1 1 in",
        "Convolution c 99999999999 1 in out",
        "Convolution c -1 1 in out",
        "Convolution c 1 1 nowhere out 0=2 1=1 6=6",
        "Convolution c 2 1 in in out 0=2 1=1 6=6",
        "Convolution c 1 1 in in 0=2 1=1 5=1 6=6",
        "Convolution c 1 1 in out",
        "Convolution c 1 1 in out 0=0 1=1 6=6",
        "Convolution c 1 1 in out 0=2 1=0 6=6",
        "Convolution c 1 1 in out 0=2 1=1 6=7",
        "Convolution c 1 1 in out 0=2 1=1 6=1e30",
        "Convolution c 1 1 in out 0=2 1=1 6=200000000",
        "Convolution c 1 1 in out 0=2 1=1 3=0 6=6",
        "Convolution c 1 1 in out 0=2 1=1 4=-3 6=6",
        "Convolution c 1 1 in out 0=2.5 1=1 6=6",
        "Convolution c 1 1 in out 0=nan 1=1 6=6",
        "Convolution c 1 1 in out 0=2 1=1 5=1 6=6 77=1",
        "Convolution c 1 1 in out 0=2 1=1 5=1 6=6 9=1",
        "Convolution c 1 1 in out 0=2 1=1 5=1 6=6 9=2",
        "Convolution c 1 1 in out 0=2 1=1 5=1 6=6 9=2 -23310=2,1.0",
        "Convolution c 1 1 in out 0=2,3 1=1 6=6",
        "Convolution c 1 1 in out 0",
        "Convolution c 1 1 in out =",
        f"Convolution c 1 1 in out 0={'9' * 5000}",
        "Input again 0 1 again",
        "Interp i 1 1 in out 0=7 1=2.0 2=2.0",
        "Interp i 1 1 in out 0=1 1=0.0 2=2.0",
        "Interp i 1 1 in out 0=1 1=1e9 2=2.0",
        "BinaryOp b 2 1 in in out 0=2",
        "Eltwise e 2 1 in in out 0=1 -23301=1,1.0",
        "PixelShuffle p 1 1 in out",
        "Split s 1 2 in out out",
        "PReLU p 1 1 in out 0=4096",
    ],
)
def test_what_is_not_known_is_refused_and_never_guessed(line: str) -> None:
    with pytest.raises(ModelError, match="line 4 of the ncnn network"):
        made(line, WEIGHTS)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        (b"", b""),
        (b"\xff\xfe", b""),
        (b"7767516\n1 1\nInput in 0 1 in", b""),
        (b"7767517", b""),
        (HEAD.encode(), b""),
        (HEAD.encode() + CONVOLUTION.encode(), WEIGHTS + b"more"),
        (b"7767517\n" + b"\n" * MOST_LAYERS, b""),
        (b"7767517\n" + b"#" * LONGEST_TEXT, b""),
    ],
)
def test_what_is_no_network_is_refused(text: bytes, weights: bytes) -> None:
    with pytest.raises(ModelError, match="the ncnn network"):
        onnx_of(text, weights)


@pytest.mark.parametrize("cut", [0, 3, 4, 20, len(WEIGHTS) - 1])
def test_weights_that_end_too_soon_are_refused(cut: int) -> None:
    with pytest.raises(ModelError, match="the weights end too soon"):
        made(CONVOLUTION, WEIGHTS[:cut])


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        (struct.pack("<I8f", 0xDEADBEEF, *range(8)), "of a kind that is not known"),
        (struct.pack("<I8f", 0, *[float("inf")] * 8), "no number"),
    ],
)
def test_weights_that_are_none_are_refused(weights: bytes, why: str) -> None:
    with pytest.raises(ModelError, match=why):
        made(CONVOLUTION, weights)


def damaged(change: Callable[[bytearray, np.random.Generator], None], seed: int) -> bytes:
    text = bytearray(f"{HEAD}{CONVOLUTION} 9=2 -23310=1,5e-1\nPReLU p 1 1 out end 0=2\n".encode())
    change(text, np.random.default_rng(seed))
    return bytes(text)


def test_no_damage_to_the_text_is_another_error() -> None:
    def swap(text: bytearray, chance: np.random.Generator) -> None:
        text[chance.integers(8, len(text))] = chance.integers(0, 256)

    for seed in range(2000):
        try:
            onnx_of(damaged(swap, seed), WEIGHTS + bytes(8))
        except ModelError:
            continue
