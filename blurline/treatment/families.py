"""The treatments of all families, by the settings."""

from blurline.imaging.header import limits_of
from blurline.models.load import LazyNetworks
from blurline.settings import Settings
from blurline.stages.pipeline import Family
from blurline.treatment.chain import ChainTreatment
from blurline.treatment.redaction import RedactionTreatment
from blurline.treatment.transform import TransformTreatment


def open_treatment(settings: Settings, networks: LazyNetworks) -> ChainTreatment:
    """What treats the pictures of a process with these networks."""
    limits, quality = limits_of(settings), settings.jpeg_quality
    return ChainTreatment(
        {
            Family.REDACTION: RedactionTreatment(
                networks.detectors, limits, quality, settings.second_look
            ),
            Family.TRANSFORM: TransformTreatment(networks, quality, limits.max_output_pixels),
        },
        limits,
    )
