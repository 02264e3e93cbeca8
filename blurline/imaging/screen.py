"""Colour profiles of screens, made of code points or of a PNG's numbers, for kinds of files that
have no place for these."""

import struct
from collections.abc import Callable
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from blurline.imaging.colours import SRGB_PRIMARIES, SRGB_TRANSFER, UNKNOWN, CodePoints
from blurline.imaging.profile import screen

_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
_D50 = np.array([0.9642, 1.0, 0.8249])  # ICC.1:2022, 7.2.16

_Places = tuple[tuple[float, float], ...]

_PRIMARIES: dict[int, _Places] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _C),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
"""Places of red, green, blue and white by x and y (ITU-T H.273, table 2)."""

_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
"""Cone responses, by which colours are moved from one white to another (ICC.1:2022, annex E)."""

_VIDEO = (3, 1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)

_FUNCTIONS: dict[int, tuple[float, ...]] = {
    **dict.fromkeys((1, 6, 11, 12, 14, 15), _VIDEO),
    4: (0, 2.2),
    5: (0, 2.8),
    7: (3, 1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912),
    8: (0, 1.0),
    13: (3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),
}
"""Function and parameters of `parametricCurveType` (10.18) by transfer (H.273, table 3)."""

_PNG_UNIT = 100_000
_USUAL_POWER, _NEAR = 0.45455, 0.005
"""What stands for the transfer of sRGB in a PNG, and what is no other than that (PNG 3, 13.13)."""

_POINTS = 4096

_WHITE_OF_PQ = 203.0
"""Candela per square metre of what is white on paper (ITU-R BT.2408, 2.2); what is brighter has no
place in a picture of a screen."""

_WHITE_OF_HLG = 0.75  # as a share of the signal, from the same place
_GAMMA_OF_HLG = 1.2  # of a screen of 1000 cd/m2 (ITU-R BT.2100, table 5)


def profile_of(points: CodePoints) -> bytes | None:
    """A profile of these colours, None for such as nobody could name one for.

    PQ and HLG are shown up to the white of paper. Readers that know code points find them in it.
    """
    primaries = SRGB_PRIMARIES if points.primaries == UNKNOWN else points.primaries
    transfer = SRGB_TRANSFER if points.transfer == UNKNOWN else points.transfer
    places, curve = _PRIMARIES.get(primaries), _curve(transfer)
    if points.are_usual or places is None or curve is None:
        return None
    code = b"cicp" + bytes(4) + bytes((primaries, transfer, 0, 1))
    return _profile(places, curve, {b"cicp": code})


def profile_of_numbers(gamma: bytes | None, places: bytes | None) -> bytes | None:
    """A profile of what the chunks gAMA and cHRM of a PNG say (PNG 3, 11.3.2); None where that is
    sRGB, or nothing that can be."""
    power = int.from_bytes(gamma, "big") / _PNG_UNIT if gamma and len(gamma) == 4 else _USUAL_POWER
    found = _PRIMARIES[SRGB_PRIMARIES]
    if places and len(places) == 32:
        white, red, green, blue = struct.iter_unpack(">II", places)
        found = tuple((x / _PNG_UNIT, y / _PNG_UNIT) for x, y in (red, green, blue, white))
    off = np.abs(np.subtract(found, _PRIMARIES[SRGB_PRIMARIES])).max()
    is_usual = abs(power - _USUAL_POWER) < _NEAR and off < _NEAR
    if is_usual or not 0.1 < power < 4 or min(y for _, y in found) < _NEAR:
        return None
    function = _FUNCTIONS[SRGB_TRANSFER] if abs(power - _USUAL_POWER) < _NEAR else (0, 1 / power)
    with suppress(np.linalg.LinAlgError, struct.error):
        return _profile(found, _parametric(function), {})
    return None


def _profile(places: _Places, curve: bytes, more: dict[bytes, bytes]) -> bytes:
    matrix, adaptation = _matrix(places)
    tags = {b"wtpt": _xyz(_D50)}
    tags |= {name: _xyz(matrix[:, index]) for index, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    tags[b"chad"] = b"sf32" + bytes(4) + _fixed(adaptation.ravel())
    return screen({**tags, **more})


def _matrix(
    places: _Places,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What makes XYZ under D50 of linear RGB, and what moves the white there."""
    *primaries, white = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in places)
    columns = np.stack(primaries, axis=1)
    matrix = columns * np.linalg.solve(columns, white)
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD
    return adaptation @ matrix, adaptation


def _curve(transfer: int) -> bytes | None:
    """The tag that makes light of a number from 0 to 1."""
    if transfer in _FUNCTIONS:
        return _parametric(_FUNCTIONS[transfer])
    lights: dict[int, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {16: _pq, 18: _hlg}
    if transfer not in lights:
        return None
    light = np.clip(lights[transfer](np.linspace(0, 1, _POINTS)), 0, 1)
    return b"curv" + struct.pack(">4xI", _POINTS) + np.rint(light * 65535).astype(">u2").tobytes()


def _parametric(numbers: tuple[float, ...]) -> bytes:
    """`parametricCurveType` of a function and its parameters."""
    function, *parameters = numbers
    return b"para" + struct.pack(">4xHxx", int(function)) + _fixed(np.array(parameters))


def _pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light as a share of that of paper (SMPTE ST 2084; ITU-R BT.2100, table 4)."""
    low, scale, high = 3424 / 4096, 2413 / 128, 2392 / 128
    root = signal ** (1 / (2523 / 32))
    light = (np.maximum(root - low, 0) / (scale - high * root)) ** (1 / (1305 / 8192))
    return light * 10_000 / _WHITE_OF_PQ


def _hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light as a share of that of paper (ITU-R BT.2100, table 5)."""

    def scene(values: NDArray[np.float64]) -> NDArray[np.float64]:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)

    return (scene(signal) / scene(np.array(_WHITE_OF_HLG))) ** _GAMMA_OF_HLG


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)


def _fixed(values: NDArray[np.float64]) -> bytes:
    """s15Fixed16Numbers (4.6)."""
    return np.rint(values * 65536).astype(">i4").tobytes()
