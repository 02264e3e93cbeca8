"""What the raw outputs of networks mean."""

import numpy as np
import pytest

from blurline.inference.heads import HEADS, Candidates, Head, centerface, dense, yolo, yunet
from blurline.models.catalogue import DetectorTask, catalogue

WIDTH, HEIGHT = 96, 64


def yolo_output(*anchors: tuple[float, ...]) -> dict[str, np.ndarray]:
    """Each anchor is centre x, y, width, height and a score for every class."""
    return {"output0": np.array(anchors, np.float32).T[None]}


def yunet_output() -> dict[str, np.ndarray]:
    """The outputs for a picture in which nothing is."""
    outputs = {}
    for stride in (8, 16, 32):
        cells = (WIDTH // stride) * (HEIGHT // stride)
        for name, values in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            outputs[f"{name}_{stride}"] = np.zeros((1, cells, values), np.float32)
    return outputs


def centerface_output() -> dict[str, np.ndarray]:
    shapes = {"537": 1, "538": 2, "539": 2, "540": 10}
    return {
        name: np.zeros((1, values, HEIGHT // 4, WIDTH // 4), np.float32)
        for name, values in shapes.items()
    }


def dense_output(classes: int) -> dict[str, np.ndarray]:
    """The outputs for a picture in which nothing is."""
    outputs = {}
    for stride in (8, 16, 32):
        maps = np.zeros((1, classes + 4, HEIGHT // stride, WIDTH // stride), np.float32)
        maps[:, :classes] = -9
        outputs[f"p{stride}"] = maps
    return outputs


def test_every_head_of_the_catalogue_exists() -> None:
    tasks = [model.task for model in catalogue().values()]
    assert {task.head for task in tasks if isinstance(task, DetectorTask)} <= set(HEADS)


def test_yolo_gives_corners_from_centre_and_size() -> None:
    found = yolo(yolo_output((50, 40, 20, 10, 0.1, 0.8, 0.3)), HEIGHT, WIDTH, 0.25)
    assert found.boxes.tolist() == [[40, 35, 60, 45]]
    assert found.scores.tolist() == pytest.approx([0.8])
    assert found.classes.tolist() == [1]


def test_yolo_takes_the_surest_class_from_the_threshold_upwards() -> None:
    outputs = yolo_output(
        (10, 10, 4, 4, 0.5, 0.25), (20, 10, 4, 4, 0.25, 0.5), (30, 10, 4, 4, 0.49, 0.49)
    )
    found = yolo(outputs, HEIGHT, WIDTH, 0.5)
    assert found.classes.tolist() == [0, 1]
    assert found.boxes[:, 0].tolist() == [8, 18]


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_yunet_places_a_face_from_its_cell(stride: int) -> None:
    outputs = yunet_output()
    column, row = 2, 1
    cell = row * (WIDTH // stride) + column
    outputs[f"cls_{stride}"][0, cell] = 0.9
    outputs[f"obj_{stride}"][0, cell] = 0.4
    outputs[f"bbox_{stride}"][0, cell] = (0.5, 0.25, np.log(2), np.log(3))
    found = yunet(outputs, HEIGHT, WIDTH, 0.5)
    x, y = (column + 0.5) * stride, (row + 0.25) * stride
    expected = [x - stride, y - 1.5 * stride, x + stride, y + 1.5 * stride]
    assert found.boxes.tolist() == [pytest.approx(expected, rel=1e-5)]
    assert found.scores.tolist() == pytest.approx([0.6])


def test_yunet_takes_scores_beyond_one_as_one() -> None:
    outputs = yunet_output()
    outputs["cls_8"][0, 3], outputs["obj_8"][0, 3] = 1.2, 1.1
    outputs["cls_8"][0, 4], outputs["obj_8"][0, 4] = -0.1, 0.9
    assert yunet(outputs, HEIGHT, WIDTH, 0.1).scores.tolist() == [1.0]


def test_centerface_places_a_face_from_its_heat() -> None:
    outputs = centerface_output()
    row, column = 5, 9
    outputs["537"][0, 0, row, column] = 0.7
    outputs["538"][0, :, row, column] = np.log(4), np.log(2)
    outputs["539"][0, :, row, column] = 0.25, -0.25
    found = centerface(outputs, HEIGHT, WIDTH, 0.5)
    x, y = (column - 0.25 + 0.5) * 4, (row + 0.25 + 0.5) * 4
    assert found.boxes.tolist() == [pytest.approx([x - 4, y - 8, x + 4, y + 8], rel=1e-5)]
    assert found.scores.tolist() == pytest.approx([0.7])


@pytest.mark.parametrize(
    ("head", "outputs"),
    [
        (yolo, yolo_output((50, 40, 20, 10, 0.1, 0.1))),
        (yunet, yunet_output()),
        (centerface, centerface_output()),
    ],
)
def test_where_nothing_is_nothing_is_found(head: Head, outputs: dict[str, np.ndarray]) -> None:
    found = head(outputs, HEIGHT, WIDTH, 0.2)
    assert found.boxes.shape == (0, 4)
    assert len(found.suppressed(0.5).scores) == 0


def test_suppression_works_within_a_class_and_puts_the_surest_first() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10]], np.float32)
    found = Candidates(boxes, np.array([0.5, 0.9, 0.7], np.float32), np.array([0, 0, 1]))
    left = found.suppressed(0.5)
    assert left.scores.tolist() == pytest.approx([0.9, 0.7])
    assert left.classes.tolist() == [0, 1]


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_dense_places_an_object_from_its_cell(stride: int) -> None:
    outputs = dense_output(classes=2)
    column, row = 2, 1
    outputs[f"p{stride}"][0, :, row, column] = [-2, 0, 0.5, -0.25, np.log(2), np.log(0.5)]
    found = dense(outputs, HEIGHT, WIDTH, 0.25)
    x, y = (column + 1.0) * stride, (row + 0.25) * stride
    expected = [x - stride, y - stride / 4, x + stride, y + stride / 4]
    assert found.boxes[0].tolist() == pytest.approx(expected)
    assert found.scores.tolist() == pytest.approx([0.5])
    assert found.classes.tolist() == [1]


@pytest.mark.parametrize(("threshold", "count"), [(0.49, 1), (0.51, 0), (1.0, 0)])
def test_dense_takes_scores_from_the_threshold_upwards(threshold: float, count: int) -> None:
    outputs = dense_output(classes=1)
    outputs["p16"][0, 0, 0, 0] = 0
    assert len(dense(outputs, HEIGHT, WIDTH, threshold).scores) == count


def candidates(*rows: tuple[float, ...]) -> Candidates:
    """Each row is a box and its score; all are of one class."""
    values = np.array(rows, np.float32)
    return Candidates(values[:, :4], values[:, 4], np.zeros(len(rows), np.intp))


def test_a_part_of_something_surer_is_left_out() -> None:
    found = candidates((0, 0, 100, 100, 0.8), (10, 10, 40, 40, 0.5)).without_parts()
    assert found.scores.tolist() == pytest.approx([0.8])


def test_a_sure_box_never_gives_way_to_an_unsure_one_around_it() -> None:
    found = candidates((10, 10, 40, 40, 0.9), (0, 0, 100, 100, 0.15)).without_parts()
    assert found.scores.tolist() == pytest.approx([0.9, 0.15])
