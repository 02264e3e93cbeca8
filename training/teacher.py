"""Faces in photos without labels, as CenterFace sees them: a teacher for a smaller network."""

from pathlib import Path

import cv2
import numpy as np

from blurline.inference.scan import Scan
from blurline.models.catalogue import find
from blurline.models.load import Inference, load_detector
from blurline.settings import default_model_dir
from training.crops import Photos, read_photo

FACE_SETS = ("people/coco_rf", "plates/openimages_train")
TEACHER = "centerface"
CONFIDENCE = 0.3
"""What the teacher is this sure of is a face; it is unsure of many more, so none is trusted."""

LOOKS = Scan((640, 960))


def load_faces(data: Path) -> Photos:
    """The photos in which the teacher sees faces, and every other road sign without any."""
    folder = default_model_dir()
    model = find(TEACHER)
    model.source.pull(folder)
    teacher = load_detector(model, Inference(folder, threads=1))
    labelled = []
    for path in (path for name in FACE_SETS for path in sorted((data / name).rglob("*.jpg"))):
        pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB), np.uint8)
        faces = [face.box for face in teacher.detect(pixels, CONFIDENCE, LOOKS)]
        if faces:
            labelled.append(read_photo(path, np.array(faces, np.float32), trusted=False))
    signs = sorted((data / "negatives/roadsigns").rglob("*.jpg"))[::2]
    nothing = np.zeros((0, 4), np.float32)
    negative = [read_photo(path, nothing, trusted=True) for path in signs]
    return Photos(labelled, [1.0] * len(labelled), negative, render=False)
