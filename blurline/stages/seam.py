"""What lies across the edges of a picture that goes all the way round."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from blurline.imaging.decode import Pixels
from blurline.inference.detector import Detection, Detector
from blurline.inference.scan import Scan
from blurline.stages.frame import Frame

SHARE = 8
"""Of the picture's width so much is looked at on either side of the seam: an eighth, or 45 degrees,
which a face fills that is as near as a hand."""


def across_seam(
    frame: Frame, shown: Pixels, detector: Detector, threshold: float, scan: Scan
) -> Iterator[Detection]:
    """What a network sees across the left and right edge of `frame`, of which `shown` is the look.

    Each is told twice, with a box that reaches beyond the right edge and with one that begins
    before the left edge, so that each half is grown as a part of the whole.
    """
    side = shown.shape[1] // SHARE
    if not side:
        return
    strip = np.concatenate([shown[:, -side:], shown[:, :side]], axis=1)
    width, seam = frame.size[0], side * frame.reduction
    for found in detector.detect(strip, threshold, scan, reduction=frame.reduction):
        left, top, right, bottom = found.box
        if left < seam < right:
            for start in (width - seam, -seam):
                yield replace(found, box=(left + start, top, right + start, bottom))
