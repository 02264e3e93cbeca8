"""Every pipeline and its stages in order: the one page to read, and the one to change.

A picture is decoded, goes through the stages of its pipeline from left to right, and is encoded.

To add a network: name it in `blurline/models/catalogue.toml`, and, if its outputs are of a new
form, add a head in `blurline/inference/heads.py`.
To add a target: add a row to `targets` below.
To add a stage: write one file in `blurline/stages/` with a class that follows `Stage`, and put it
into a pipeline below. Uploads choose a pipeline by its name.
"""

from blurline.settings import Settings
from blurline.stages.blur import Blur
from blurline.stages.detect import Detect
from blurline.stages.pipeline import Pipeline, Target

VEHICLES = frozenset({"car", "motorcycle", "bus", "truck"})


def pipelines(settings: Settings) -> dict[str, Pipeline]:
    """All pipelines by name, with the networks that the settings choose."""
    targets = {
        # A missed face or car costs more than a needless blur, hence the low thresholds.
        "face": Target(settings.face_model, frozenset({"face"}), threshold=0.2, margin=0.2),
        "car": Target(settings.vehicle_model, VEHICLES, threshold=0.12, margin=0.05),
        "person": Target(settings.vehicle_model, frozenset({"person"}), threshold=0.2, margin=0.05),
        # No network for plates is in the catalogue yet; asking for them is refused.
        "license_plate": Target(None, frozenset({"license_plate"}), threshold=0.2, margin=0.1),
    }
    blur = Blur(targets)
    detect = Detect(settings.detection_model)
    return {
        pipeline.name: pipeline
        for pipeline in (
            Pipeline("blur_detect", "Blur, then list the objects that are left", (blur, detect)),
            Pipeline("blur", "Blur only", (blur,)),
        )
    }
