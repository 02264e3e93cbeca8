"""The options of redaction: how they are declared, read and put together.

They have the same names everywhere: `targets` is a field of the form, `--targets` a flag,
`DEFAULT_TARGETS` a setting.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from blurline.errors import OptionError
from blurline.imaging.kind import OutputFormat
from blurline.imaging.metadata import MetadataPolicy
from blurline.redaction.styles import Style
from blurline.redaction.zones import Polygon
from blurline.stages.frame import OnFailure, Options, Quality
from blurline.stages.optiontable import Option, OptionTable, Values, check_length, word

LEAST_THRESHOLD = 0.01
"""Below this a network sees the thing it looks for everywhere."""

MOST_WORDS = 256
"""Names of targets, or thresholds, in one list."""

LONGEST_ZONES = 128 * 1024
"""Characters of the text of zones; as many as there may be, written with all digits, fit in."""

MOST_POLYGONS = 20
FEWEST_POINTS, MOST_POINTS = 3, 100
TARGETS_EXAMPLE = "face,license_plate,person"
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

QUALITY = Option(
    "quality",
    word(Quality, "quality"),
    Quality.BALANCED.value,
    "how closely the networks look; closer finds more and takes longer",
    words=tuple(Quality),
)
METADATA = Option(
    "metadata",
    word(MetadataPolicy, "metadata"),
    MetadataPolicy.MINIMAL.value,
    "what of the file's metadata stays: time, place and camera too, only orientation and colour "
    "profile, or none",
    words=tuple(MetadataPolicy),
)
OUTPUT_FORMAT = Option(
    "output_format",
    word(OutputFormat, "output_format"),
    OutputFormat.SAME.value,
    "the kind of the result's file; `same` is the original's, with PNG for GIF and JPEG for HEIC",
    words=tuple(OutputFormat),
)

TRANSFORM: tuple[Option[Any], ...] = (METADATA, OUTPUT_FORMAT)
"""The options of every pipeline of the transform family."""


def redaction_options(known: Collection[str]) -> tuple[Option[Any], ...]:
    """The options of a stage that redacts targets of these names."""
    return (
        Option(
            "targets",
            lambda text, default, _: parse_targets(text or default, known),
            "face,license_plate",
            "what to blur, comma-separated, of: " + ", ".join(sorted(known)),
            TARGETS_EXAMPLE,
        ),
        Option(
            "style",
            word(Style, "style"),
            Style.MOSAIC.value,
            "how it is blurred",
            words=tuple(Style),
        ),
        QUALITY,
        Option(
            "threshold",
            lambda text, default, before: merged_thresholds(
                text, default, known, before["targets"]
            ),
            "",
            f"least confidence of what is blurred, {LEAST_THRESHOLD} to 1: a number for all "
            "targets, or one for each; without it each quality level has its own",
            THRESHOLD_EXAMPLE,
        ),
        _zones(
            "ignore_zones", "nothing is blurred that is found wholly inside one of these polygons"
        ),
        _zones("redact_zones", "these polygons are blurred whatever they show"),
        METADATA,
        Option(
            "on_failure",
            word(OnFailure, "on_failure"),
            OnFailure.FAIL.value,
            "whether a picture that can't be treated fails or is redacted as a whole",
            words=tuple(OnFailure),
        ),
        OUTPUT_FORMAT,
    )


def options_of(values: Values) -> Options:
    """What a job's values of `redaction_options` come to.

    Raises:
        OptionError: a threshold for a target that is not asked for, or values that are none.
    """
    try:
        return _OPTIONS.validate_python(
            {
                "targets": values["targets"],
                "style": values["style"],
                "quality": values["quality"],
                "thresholds": values["threshold"],
                "zones": {"ignore": values["ignore_zones"], "redact": values["redact_zones"]},
                "metadata": values["metadata"],
                "on_failure": values["on_failure"],
                "output_format": values["output_format"],
                "upright": values.get("upright", False),
            }
        )
    except (KeyError, ValidationError):
        # Its text quotes the values.
        raise OptionError("the job's options are none of this pipeline") from None


def read_options(
    known: Collection[str], texts: Mapping[str, str], defaults: Mapping[str, str]
) -> Options:
    """What a caller's words come to, of a stage that redacts targets of these names.

    Raises:
        OptionError: see `OptionTable.read`.
    """
    return options_of(OptionTable(redaction_options(known)).read(texts, defaults))


def values_of(options: Options) -> dict[str, Any]:
    """The values that come to these options."""
    told = _OPTIONS.dump_python(options, mode="json")
    zones = told.pop("zones")
    upright = {"upright": True} if told.pop("upright") else {}
    thresholds = told.pop("thresholds")
    return {
        **told,
        "threshold": thresholds,
        "ignore_zones": zones["ignore"],
        "redact_zones": zones["redact"],
        **upright,
    }


_OPTIONS = TypeAdapter(Options)


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


def merged_thresholds(
    text: str, default: str, known: Collection[str], targets: Collection[str]
) -> dict[str, float]:
    """Thresholds of the `targets` that are asked for, put together target by target.

    The caller's win over the default's, which may name all that are `known`.

    Raises:
        OptionError: see `parse_thresholds`.
    """
    usual = parse_thresholds(default, known)
    return {name: usual[name] for name in targets if name in usual} | parse_thresholds(
        text, targets
    )


def parse_zones(name: str, text: str) -> tuple[Polygon, ...]:
    """Polygons out of JSON: a list of lists of points x, y in shares of width and height.

    >>> parse_zones("ignore_zones", "[[[0, 0], [1, 0], [1, 0.25]]]")
    (((0.0, 0.0), (1.0, 0.0), (1.0, 0.25)),)

    Raises:
        OptionError: it is something else, a number lies outside 0 to 1, or there are too few or
            too many points or polygons. `name` stands in the message.
    """
    check_length(name, text, LONGEST_ZONES)
    if text.count("[") > MOST_LISTS or text.count(",") > MOST_COMMAS:
        raise OptionError(f"{name}: too many lists or numbers; {_ZONES_HELP}")
    try:
        return POLYGONS.validate_json(text or "[]")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{index}]" for index in first["loc"])
        raise OptionError(f"{name}{place}: {first['msg']}; {_ZONES_HELP}") from error


def _parts(name: str, text: str) -> list[str]:
    check_length(name, text)
    parts = [part.strip() for part in text.lower().split(",") if part.strip()]
    if len(parts) > MOST_WORDS:
        raise OptionError(f"{name} may list at most {MOST_WORDS}")
    return parts


def _zones(name: str, help_: str) -> "Option[tuple[Polygon, ...]]":
    return Option(
        name,
        lambda text, default, _: parse_zones(name, text or default),
        "[]",
        f"{help_}; JSON of points x, y in shares of the upright picture's width and height",
        ZONES_EXAMPLE,
        longest=LONGEST_ZONES,
        once=True,
        schema={"contentMediaType": "application/json", "contentSchema": POLYGONS.json_schema()},
    )
