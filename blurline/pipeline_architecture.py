"""Every pipeline and its stages in order: the one page to read, and the one to change.

A picture is decoded, goes through the stages of its pipeline from left to right, and is encoded.

To add a network: name it in `blurline/models/catalogue.toml`, and, if its outputs are of a new
form, add a head in `blurline/inference/heads.py`.
To add a target: add a row to `targets` below.
To add a stage: write one file in `blurline/stages/` with a class that follows `Stage`, and put it
into a pipeline below. Uploads choose a pipeline by its name.
"""

from blurline.inference.scan import Scan
from blurline.settings import Settings
from blurline.stages.artistic import Aged, Comic
from blurline.stages.background import BackgroundRemove
from blurline.stages.blur import Blur
from blurline.stages.defaults import offered
from blurline.stages.detect import Detect
from blurline.stages.enhance import Enhance
from blurline.stages.frame import Quality
from blurline.stages.options import TRANSFORM
from blurline.stages.pipeline import Family, Level, Pipeline, Target
from blurline.stages.upscale import Upscale

VEHICLES = frozenset({"car", "motorcycle", "bus", "truck"})

# A missed face or plate costs more than a needless blur, hence the low thresholds. docs/quality.md
# shows what each level finds and what it costs.
TILE = 960
"""Of a picture of 12 megapixels four tiles take half the memory of two, and as much time."""

FACE_MARGIN = (0.2, 0.12, 0.23, 0.27)
"""CenterFace's boxes end above the chin more often than they begin above the brow."""

TURNED = Scan((1280,), enlarge=3.0, doubt=1.2)
"""Copies that are turned by a quarter, a half and three quarters. Turned, many a thing looks a
little like a face, so that .15 counts as .1 there; docs/quality.md has the figures."""

FACES = {
    Quality.FAST: Level(Scan((480,)), threshold=0.12, margin=FACE_MARGIN),
    Quality.BALANCED: Level(
        Scan((736,), least_scale=0.4, tile=TILE), threshold=0.1, margin=FACE_MARGIN
    ),
    Quality.THOROUGH: Level(
        Scan((640, 1280), least_scale=0.8, enlarge=3.0, turned=TURNED),
        threshold=0.1,
        margin=FACE_MARGIN,
    ),
}
PLATE_MARGIN = 0.165
PLATES = {
    Quality.FAST: Level(Scan((480,)), threshold=0.5, margin=PLATE_MARGIN),
    Quality.BALANCED: Level(
        Scan((608,), least_scale=0.4, tile=TILE), threshold=0.45, margin=PLATE_MARGIN
    ),
    Quality.THOROUGH: Level(
        Scan((640, 1280), least_scale=0.8, enlarge=2.0), threshold=0.45, margin=PLATE_MARGIN
    ),
}
VEHICLE_LEVELS = {
    Quality.FAST: Level(Scan((640,)), threshold=0.12, margin=0.05),
    Quality.BALANCED: Level(Scan((640,), least_scale=0.25), threshold=0.12, margin=0.05),
    Quality.THOROUGH: Level(Scan((640, 1280), least_scale=0.5), threshold=0.12, margin=0.05),
}
PEOPLE = {
    Quality.FAST: Level(Scan((640,)), threshold=0.2, margin=0.05),
    Quality.BALANCED: Level(Scan((640,), least_scale=0.25), threshold=0.2, margin=0.05),
    Quality.THOROUGH: Level(Scan((640, 1280), least_scale=0.5), threshold=0.2, margin=0.05),
}


def pipelines(settings: Settings) -> dict[str, Pipeline]:
    """The pipelines that the settings offer by name, with the networks that they choose.

    Raises:
        SettingsError: `PIPELINES` names one that there is not.
    """
    targets = {
        "face": Target(settings.face_model, frozenset({"face"}), FACES),
        "license_plate": Target(settings.plate_model, frozenset({"license_plate"}), PLATES),
        "car": Target(settings.vehicle_model, VEHICLES, VEHICLE_LEVELS),
        "person": Target(settings.vehicle_model, frozenset({"person"}), PEOPLE),
    }
    blur = Blur(targets)
    detect = Detect(settings.detection_model)
    queue, patience = settings.queue_name, settings.job_timeout
    redaction = (
        Pipeline(
            "blur_detect",
            "Blur, then list the objects that are left",
            Family.REDACTION,
            (blur, detect),
            queue,
            patience,
        ),
        Pipeline("blur", "Blur only", Family.REDACTION, (blur,), queue, patience),
    )
    queue, patience = settings.transform_queue, settings.transform_timeout
    transform = (
        Pipeline(
            "enhance",
            "Make colours, light, details and noise better",
            Family.TRANSFORM,
            (Enhance(),),
            queue,
            patience,
            TRANSFORM,
        ),
        Pipeline(
            "upscale",
            "Enlarge, two or four times",
            Family.TRANSFORM,
            (Upscale(),),
            queue,
            patience,
            TRANSFORM,
        ),
        Pipeline(
            "background-remove",
            "Cut out what the picture is about, or its people",
            Family.TRANSFORM,
            (BackgroundRemove(),),
            queue,
            patience,
            TRANSFORM,
        ),
        Pipeline(
            "style-comic",
            "Make it a comic: flat colours, inked lines",
            Family.TRANSFORM,
            (Comic(),),
            queue,
            patience,
            TRANSFORM,
        ),
        Pipeline(
            "style-aged",
            "Make it an old print: brown, faded, with grain",
            Family.TRANSFORM,
            (Aged(),),
            queue,
            patience,
            TRANSFORM,
        ),
    )
    return offered(settings, (*redaction, *transform))
