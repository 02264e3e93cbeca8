"""How networks are run, by the settings."""

from blurline.machine import usable_cores
from blurline.models.load import Inference
from blurline.settings import Settings


def inference(settings: Settings) -> Inference:
    """How the settings want networks to be run."""
    return Inference(
        model_dir=settings.model_dir,
        threads=settings.inference_threads or usable_cores(),
        precision=settings.inference_precision,
        device=settings.device,
        max_batch_size=settings.max_batch_size,
        max_queue_delay=settings.max_queue_delay,
    )
