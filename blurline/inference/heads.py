"""What a network's raw outputs mean: pure functions from tensors to boxes in input pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blurline.geometry import Boxes, Scores
from blurline.inference.engine import Outputs
from blurline.inference.suppression import inside_larger, nms


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes of shape (n, 4) in input pixels, with scores of 0 to 1 and class indices, (n,) each."""

    boxes: Boxes
    scores: Scores
    classes: NDArray[np.intp]

    def suppressed(self, iou_threshold: float) -> "Candidates":
        """What is left after non-maximum suppression within each class, best score first."""
        kept = nms(self.boxes, self.scores, iou_threshold, self.classes)
        return Candidates(self.boxes[kept], self.scores[kept], self.classes[kept])

    def without_parts(self) -> "Candidates":
        """What is left without boxes that lie inside a larger, no less sure one of their class.

        Tiles and passes see parts of what another one sees whole. A part that is surer stays: a
        caller's threshold may drop the whole, and then nothing would be left.
        """
        kept = ~inside_larger(self.boxes, self.scores, self.classes)
        return Candidates(self.boxes[kept], self.scores[kept], self.classes[kept])


def joined(parts: Sequence[Candidates]) -> Candidates:
    """All candidates of one picture, from at least one look at it."""
    return Candidates(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.classes for part in parts]),
    )


Head = Callable[[Outputs, int, int, float], Candidates]
"""A head takes the outputs, the input's height and width, and the least score of interest."""


def yolo(outputs: Outputs, height: int, width: int, threshold: float) -> Candidates:
    """Ultralytics YOLOv8 and YOLO11: one tensor (1, 4 + classes, anchors).

    Boxes are centre and size in pixels, scores are sigmoids already.
    https://docs.ultralytics.com/models/yolo11/
    """
    (tensor,) = outputs.values()
    predictions = tensor[0]
    best = predictions[4:].max(axis=0)
    chosen = np.flatnonzero(best >= threshold)
    centre, size = predictions[0:2, chosen].T, predictions[2:4, chosen].T
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    classes = predictions[4:, chosen].argmax(axis=0)
    return Candidates(boxes.astype(np.float32), best[chosen].astype(np.float32), classes)


def yunet(outputs: Outputs, height: int, width: int, threshold: float) -> Candidates:
    """OpenCV's YuNet: per stride a class score, an object score and a box relative to its cell.

    The score is the geometric mean of the two; a box is the offset of its centre and the logarithm
    of its size, in strides. https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet
    """
    boxes, scores = [], []
    for stride in (8, 16, 32):
        columns = width // stride
        class_score = outputs[f"cls_{stride}"][0, :, 0]
        object_score = outputs[f"obj_{stride}"][0, :, 0]
        score = np.sqrt(np.clip(class_score, 0, 1) * np.clip(object_score, 0, 1))
        chosen = np.flatnonzero(score >= threshold)
        box = outputs[f"bbox_{stride}"][0, chosen]
        cell = np.stack([chosen % columns, chosen // columns], axis=1)
        centre = (cell + box[:, :2]) * stride
        size = np.exp(box[:, 2:]) * stride
        boxes.append(np.concatenate([centre - size / 2, centre + size / 2], axis=1))
        scores.append(score[chosen])
    return _one_class(np.concatenate(boxes), np.concatenate(scores))


def centerface(outputs: Outputs, height: int, width: int, threshold: float) -> Candidates:
    """CenterFace: a heat map of face centres at a quarter of the size, with sizes and offsets.

    Its outputs are, in the order of the file: heat map (1, 1, h, w), log size (1, 2, h, w), offset
    (1, 2, h, w), landmarks; vertical before horizontal. https://arxiv.org/abs/1911.03599
    """
    stride = 4
    heat, log_size, offset = (tensor[0] for tensor in list(outputs.values())[:3])
    rows, columns = np.nonzero(heat[0] >= threshold)
    size = np.exp(log_size[:, rows, columns]) * stride
    centre_y = (rows + offset[0, rows, columns] + 0.5) * stride
    centre_x = (columns + offset[1, rows, columns] + 0.5) * stride
    boxes = np.stack(
        [
            centre_x - size[1] / 2,
            centre_y - size[0] / 2,
            centre_x + size[1] / 2,
            centre_y + size[0] / 2,
        ],
        axis=1,
    )
    return _one_class(boxes, heat[0, rows, columns])


def dense(outputs: Outputs, height: int, width: int, threshold: float) -> Candidates:
    """The networks of `training/`: one map (1, classes + 4, h / s, w / s) for each stride s.

    Its channels are a logit a class, the way from the cell's centre to the box's in strides, and
    the logarithm of the box's width and height in strides.
    """
    boxes, scores, classes = [], [], []
    # Logits are compared, so that the sigmoid is only taken of the few cells that are kept.
    least = np.log(threshold / (1 - threshold)) if threshold < 1 else np.inf
    for tensor in outputs.values():
        logits, offsets = tensor[0, :-4], tensor[0, -4:]
        stride = height / logits.shape[1]
        best = logits.max(axis=0)
        rows, columns = np.nonzero(best >= least)
        dx, dy, log_width, log_height = offsets[:, rows, columns]
        x, y = (columns + 0.5 + dx) * stride, (rows + 0.5 + dy) * stride
        half_width, half_height = np.exp(log_width) * stride / 2, np.exp(log_height) * stride / 2
        corners = [x - half_width, y - half_height, x + half_width, y + half_height]
        boxes.append(np.stack(corners, axis=1))
        scores.append(1 / (1 + np.exp(-best[rows, columns])))
        classes.append(logits[:, rows, columns].argmax(axis=0))
    return Candidates(
        np.concatenate(boxes).astype(np.float32),
        np.concatenate(scores).astype(np.float32),
        np.concatenate(classes),
    )


HEADS: dict[str, Head] = {"yolo": yolo, "yunet": yunet, "centerface": centerface, "dense": dense}


def _one_class(boxes: NDArray[np.floating], scores: NDArray[np.floating]) -> Candidates:
    return Candidates(
        boxes.astype(np.float32), scores.astype(np.float32), np.zeros(len(boxes), dtype=np.intp)
    )
