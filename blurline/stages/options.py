"""A caller's words, from a form, from flags or from settings, as checked options.

The options have the same names everywhere: `targets` is a field of the form, `--targets` a flag,
`DEFAULT_TARGETS` a setting.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from blurline.errors import OptionError, SettingsError
from blurline.imaging.kind import OutputFormat
from blurline.imaging.metadata import MetadataPolicy
from blurline.redaction.styles import Style
from blurline.redaction.zones import Polygon, Zones
from blurline.settings import Settings
from blurline.stages.frame import OnFailure, Options, Quality
from blurline.stages.pipeline import Pipeline

LEAST_THRESHOLD = 0.01
"""Below this a network sees the thing it looks for everywhere."""

LONGEST_TEXT = 4096
"""Characters of an option's text, but of zones."""

MOST_WORDS = 256
"""Names of targets, or thresholds, in one list."""

LONGEST_ZONES = 128 * 1024
"""Characters of the text of zones; as many as there may be, written with all digits, fit in."""

MOST_POLYGONS = 20
FEWEST_POINTS, MOST_POINTS = 3, 100
THRESHOLD_EXAMPLE = "face=0.3,license_plate=0.2"
ZONES_EXAMPLE = "[[[0, 0], [1, 0], [1, 0.25]], [[0.5, 0.5], [0.7, 0.5], [0.7, 0.9], [0.5, 0.9]]]"

_ZONES_HELP = (
    f"write at most {MOST_POLYGONS} polygons of {FEWEST_POINTS} to {MOST_POINTS} points x, y from "
    f"0 to 1, such as {ZONES_EXAMPLE}"
)

Share = Annotated[float, Field(ge=0, le=1)]
Points = Annotated[
    tuple[tuple[Share, Share], ...], Field(min_length=FEWEST_POINTS, max_length=MOST_POINTS)
]
MOST_LISTS = 1 + MOST_POLYGONS * (1 + MOST_POINTS)
MOST_COMMAS = 2 * MOST_POLYGONS * MOST_POINTS - 1
"""Of these signs in the text of zones. More would be so many mistakes to tell of one by one."""

POLYGONS: TypeAdapter[tuple[Polygon, ...]] = TypeAdapter(
    Annotated[tuple[Points, ...], Field(max_length=MOST_POLYGONS)],
    config=ConfigDict(strict=True),
)
"""What the JSON of zones may hold."""

_Word = TypeVar("_Word", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class OptionText:
    """Options as they are written; an empty one is not given."""

    targets: str = ""
    style: str = ""
    quality: str = ""
    threshold: str = ""
    ignore_zones: str = ""
    redact_zones: str = ""
    metadata: str = ""
    on_failure: str = ""
    output_format: str = ""


NAMES = tuple(field.name for field in fields(OptionText))
"""The names of all options but the pipeline's."""


def longest(name: str) -> int:
    """Characters that the text of the option of that name may have."""
    return LONGEST_ZONES if name.endswith("_zones") else LONGEST_TEXT


def options_of(text: OptionText, defaults: OptionText, known: Collection[str]) -> Options:
    """What the caller chose, and the defaults for what is not given.

    Thresholds are put together target by target: those of `defaults` for targets that the caller
    does not ask for are left out. Every other option is the caller's own or the default.

    Args:
        text: the caller's own.
        defaults: as `default_text` gives them.
        known: names of the targets of the pipeline.

    Raises:
        OptionError: an unknown word, no target at all, a threshold for a target that is not asked
            for, a number out of range, or zones that are no polygons.
    """
    targets = parse_targets(text.targets or defaults.targets, known)
    usual = parse_thresholds(defaults.threshold, known)
    return Options(
        targets=targets,
        style=_word(Style, "style", text.style or defaults.style),
        quality=_word(Quality, "quality", text.quality or defaults.quality),
        thresholds={name: usual[name] for name in targets if name in usual}
        | parse_thresholds(text.threshold, targets),
        zones=Zones(
            ignore=parse_zones("ignore_zones", text.ignore_zones or defaults.ignore_zones),
            redact=parse_zones("redact_zones", text.redact_zones or defaults.redact_zones),
        ),
        metadata=_word(MetadataPolicy, "metadata", text.metadata or defaults.metadata),
        on_failure=_word(OnFailure, "on_failure", text.on_failure or defaults.on_failure),
        output_format=_word(
            OutputFormat, "output_format", text.output_format or defaults.output_format
        ),
    )


def default_pipeline(settings: Settings, pipelines: Mapping[str, Pipeline]) -> Pipeline:
    """The pipeline of a caller who names none.

    Raises:
        SettingsError: `DEFAULT_PIPELINE` is none of them.
    """
    if settings.default_pipeline not in pipelines:
        raise SettingsError(f"DEFAULT_PIPELINE must be one of {', '.join(pipelines)}")
    return pipelines[settings.default_pipeline]


def default_text(settings: Settings, known: Collection[str]) -> OptionText:
    """What holds where the caller says nothing, checked for a pipeline with these targets.

    Raises:
        SettingsError: one of the settings that begin with `DEFAULT_` can't be used.
    """
    texts = {name: getattr(settings, f"default_{name}") or "" for name in NAMES}
    defaults = OptionText(**texts)
    try:
        options_of(OptionText(), defaults, known)
    except OptionError as error:
        raise SettingsError(f"of the settings DEFAULT_*: {error.message}") from error
    return defaults


def parse_targets(text: str, known: Collection[str]) -> tuple[str, ...]:
    """Names of targets, separated by commas, each once and in their order.

    >>> parse_targets("car, face, car", ["face", "car", "person"])
    ('car', 'face')

    Raises:
        OptionError: there is none, one that is not known, or too many.
    """
    names = tuple(dict.fromkeys(_parts("targets", text)))
    if not names:
        raise OptionError(f"targets must name at least one of {', '.join(known)}")
    if not set(names) <= set(known):
        raise OptionError(f"targets must be among {', '.join(known)}")
    return names


def parse_thresholds(text: str, targets: Collection[str]) -> dict[str, float]:
    """Least confidence by target; a number without a name holds for all, and later ones win.

    >>> parse_thresholds("face=0.3", ["face", "license_plate"])
    {'face': 0.3}
    >>> parse_thresholds("0.3, license_plate=0.2", ["face", "license_plate"])
    {'face': 0.3, 'license_plate': 0.2}

    Raises:
        OptionError: a name is not among `targets`, no number from 0.01 to 1 follows it, or there
            are too many.
    """
    thresholds: dict[str, float] = {}
    for part in _parts("threshold", text):
        name, sign, number = (word.strip() for word in part.rpartition("="))
        if sign and name not in targets:
            raise OptionError(f"threshold may name only what is looked for: {', '.join(targets)}")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if not LEAST_THRESHOLD <= value <= 1:
            raise OptionError(
                f"threshold must be a number from {LEAST_THRESHOLD} to 1, "
                f"or one for each target such as {THRESHOLD_EXAMPLE}"
            )
        thresholds |= dict.fromkeys([name] if sign else targets, value)
    return thresholds


def parse_zones(name: str, text: str) -> tuple[Polygon, ...]:
    """Polygons out of JSON: a list of lists of points x, y in shares of width and height.

    >>> parse_zones("ignore_zones", "[[[0, 0], [1, 0], [1, 0.25]]]")
    (((0.0, 0.0), (1.0, 0.0), (1.0, 0.25)),)

    Raises:
        OptionError: it is something else, a number lies outside 0 to 1, or there are too few or
            too many points or polygons. `name` stands in the message.
    """
    _check_length(name, text)
    if text.count("[") > MOST_LISTS or text.count(",") > MOST_COMMAS:
        raise OptionError(f"{name}: too many lists or numbers; {_ZONES_HELP}")
    try:
        return POLYGONS.validate_json(text or "[]")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{index}]" for index in first["loc"])
        raise OptionError(f"{name}{place}: {first['msg']}; {_ZONES_HELP}") from error


def _word(words: type[_Word], name: str, text: str) -> _Word:
    _check_length(name, text)
    try:
        return words(text.strip().lower())
    except ValueError as error:
        raise OptionError(f"{name} must be one of {', '.join(words)}") from error


def _parts(name: str, text: str) -> list[str]:
    _check_length(name, text)
    parts = [part.strip() for part in text.lower().split(",") if part.strip()]
    if len(parts) > MOST_WORDS:
        raise OptionError(f"{name} may list at most {MOST_WORDS}")
    return parts


def _check_length(name: str, text: str) -> None:
    if len(text) > longest(name):
        raise OptionError(f"{name} may have at most {longest(name)} characters")
