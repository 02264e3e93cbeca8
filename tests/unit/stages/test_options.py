"""From a caller's words to checked options."""

import json
from typing import Any

import pytest

from blurline.errors import OptionError, SettingsError
from blurline.imaging.kind import OutputFormat
from blurline.imaging.metadata import MetadataPolicy
from blurline.pipeline_architecture import pipelines
from blurline.redaction.styles import Style
from blurline.redaction.zones import Zones
from blurline.settings import Settings, load_settings
from blurline.stages.defaults import default_chain
from blurline.stages.frame import OnFailure, Options, Quality
from blurline.stages.options import (
    LONGEST_ZONES,
    MOST_COMMAS,
    MOST_LISTS,
    MOST_POINTS,
    MOST_POLYGONS,
    MOST_WORDS,
    parse_targets,
    parse_thresholds,
    parse_zones,
    read_options,
    redaction_options,
)
from blurline.stages.optiontable import LONGEST_TEXT
from tests.parts import ROOT

KNOWN = ("face", "license_plate", "car")
DEFAULTS: dict[str, str] = {}
NAMES = tuple(option.name for option in redaction_options(KNOWN))
TRIANGLE = [[0, 0], [1, 0], [0.5, 0.25]]


def chosen(defaults: dict[str, str] = DEFAULTS, **said: str) -> Options:
    return read_options(KNOWN, said, defaults)


def complaint(**said: str) -> str:
    """The one line that refuses the options."""
    with pytest.raises(OptionError) as caught:
        chosen(**said)
    assert caught.value.code == "bad_option"
    assert "\n" not in caught.value.message
    return caught.value.message


def test_without_a_word_the_defaults_hold() -> None:
    assert chosen() == Options(("face", "license_plate"), Style.MOSAIC, Quality.BALANCED)


def test_every_option_is_the_callers() -> None:
    zones = json.dumps([TRIANGLE])
    options = chosen(
        targets="car, face",
        style="SOLID",
        quality="Thorough",
        threshold="car=0.5",
        ignore_zones=zones,
        redact_zones=zones,
        metadata="None",
        on_failure="OBSCURE",
        output_format="WebP",
    )
    polygons = (((0.0, 0.0), (1.0, 0.0), (0.5, 0.25)),)
    assert options == Options(
        ("car", "face"),
        Style.SOLID,
        Quality.THOROUGH,
        {"car": 0.5},
        Zones(polygons, polygons),
        MetadataPolicy.NONE,
        OnFailure.OBSCURE,
        OutputFormat.WEBP,
    )


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"targets": "dragon"}, "targets must be among face, license_plate, car"),
        ({"targets": "car,dragon"}, "targets must be among face, license_plate, car"),
        ({"targets": " , "}, "targets must name at least one of face, license_plate, car"),
        ({"style": "pixelate"}, "style must be one of mosaic, solid, gaussian"),
        ({"quality": "best"}, "quality must be one of fast, balanced, thorough"),
        ({"metadata": "some"}, "metadata must be one of keep, minimal, none"),
        ({"on_failure": "ignore"}, "on_failure must be one of fail, obscure"),
        ({"output_format": "heic"}, "output_format must be one of same, jpeg, png, webp, avif"),
        ({"threshold": "car=0.3"}, "threshold may name only what is looked for: face, license_"),
        ({"threshold": "dragon=0.3"}, "threshold may name only what is looked for: face, license_"),
        ({"threshold": "face=high"}, "threshold must be a number from 0.01 to 1"),
        ({"ignore_zones": "the sky"}, "ignore_zones: Invalid JSON"),
        ({"redact_zones": "{}"}, "redact_zones: "),
    ],
)
def test_what_is_not_known_is_refused_with_what_is(said: dict[str, str], message: str) -> None:
    assert message in complaint(**said)


def test_a_target_that_is_named_twice_counts_once() -> None:
    assert parse_targets("car,face, car", KNOWN) == ("car", "face")


@pytest.mark.parametrize(
    ("text", "thresholds"),
    [
        ("", {}),
        ("0.3", {"face": 0.3, "car": 0.3}),
        ("1", {"face": 1.0, "car": 1.0}),
        ("0.01", {"face": 0.01, "car": 0.01}),
        ("face=0.3", {"face": 0.3}),
        (" Face = .3 , car=0.2,", {"face": 0.3, "car": 0.2}),
        ("0.3,car=0.2", {"face": 0.3, "car": 0.2}),
        ("car=0.2,0.3", {"face": 0.3, "car": 0.3}),
    ],
)
def test_thresholds_hold_for_all_targets_or_for_one(
    text: str, thresholds: dict[str, float]
) -> None:
    assert parse_thresholds(text, ("face", "car")) == thresholds


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0.009",
        "1.01",
        "-0.3",
        "nan",
        "inf",
        "30%",
        "face",
        "face=",
        "=0.3",
        "face=0.3;car=0.2",
    ],
)
def test_a_threshold_is_a_number_from_one_hundredth_to_one(text: str) -> None:
    with pytest.raises(OptionError, match="threshold"):
        parse_thresholds(text, ("face", "car"))


@pytest.mark.parametrize(
    ("usual", "said", "thresholds"),
    [
        ("0.4", {}, {"face": 0.4, "license_plate": 0.4}),
        ("car=0.4", {}, {}),
        ("car=0.4", {"targets": "car"}, {"car": 0.4}),
        ("face=0.4", {"threshold": "license_plate=0.2"}, {"face": 0.4, "license_plate": 0.2}),
        ("face=0.4", {"threshold": "0.2"}, {"face": 0.2, "license_plate": 0.2}),
    ],
)
def test_usual_thresholds_hold_for_targets_that_the_caller_gives_none(
    usual: str, said: dict[str, str], thresholds: dict[str, float]
) -> None:
    defaults = {"threshold": usual}
    assert chosen(defaults, **said).thresholds == thresholds


def test_zones_of_the_caller_take_the_place_of_the_usual_ones() -> None:
    usual = {"ignore_zones": json.dumps([TRIANGLE])}
    assert len(chosen(usual).zones.ignore) == 1
    assert len(chosen(usual, ignore_zones=json.dumps([TRIANGLE] * 2)).zones.ignore) == 2
    assert chosen(usual, ignore_zones="[]").zones.ignore == ()


@pytest.mark.parametrize(
    ("zones", "place"),
    [
        ("null", ""),
        ("[[[0, 0], [1, 0], [1, 1]]", ""),
        ("[" * 10_000, ""),
        ([TRIANGLE] * (MOST_POLYGONS + 1), ""),
        ([TRIANGLE, TRIANGLE[:2]], "[1]"),
        ([[[0, 0]] * (MOST_POINTS + 1)], "[0]"),
        ([[]], "[0]"),
        (TRIANGLE, "[0][0]"),
        ([[[0, 0], [1, 0], [1]]], "[0][2][1]"),
        ([[[0, 0], [1, 0], [1, 1, 1]]], "[0][2]"),
        ([[[0, 0], [1, 0], [1, 1.01]]], "[0][2][1]"),
        ([[[0, 0], [1, 0], [-0.1, 1]]], "[0][2][0]"),
        ([[[0, 0], [1, 0], [1, "1"]]], "[0][2][1]"),
        ([[[0, 0], [1, 0], [1, True]]], "[0][2][1]"),
        ([[[0, 0], [1, 0], [1, float("nan")]]], "[0][2][1]"),
        ([[[640, 0], [1280, 0], [1280, 720]]], "[0][0][0]"),
    ],
)
def test_zones_that_are_no_polygons_are_refused_by_their_place(zones: Any, place: str) -> None:
    text = zones if isinstance(zones, str) else json.dumps(zones)
    message = complaint(redact_zones=text)
    assert message.startswith(f"redact_zones{place}: ")
    assert "[[[0, 0], [1, 0], [1, 0.25]]" in message


@pytest.mark.parametrize(
    "said",
    [
        *({name: "x" * (LONGEST_TEXT + 1)} for name in NAMES if not name.endswith("_zones")),
        {"redact_zones": "[" * (LONGEST_ZONES + 1)},
        {"ignore_zones": " " * LONGEST_ZONES + "[]"},
        {"redact_zones": "[" + "2," * MOST_COMMAS + "2,2]"},
        {"ignore_zones": "[" + "[" * MOST_LISTS},
        {"targets": "face," * (MOST_WORDS + 1)},
        {"threshold": "0.3," * (MOST_WORDS + 1)},
    ],
    ids=lambda said: "-".join(said),
)
def test_no_text_is_longer_or_lists_more_than_its_bound(said: dict[str, str]) -> None:
    (name,) = said
    message = complaint(**said)
    assert message.startswith(name)
    assert len(message) < 400


def test_the_settings_go_through_the_same_bounds() -> None:
    for name in ("default_threshold", "default_ignore_zones", "default_targets"):
        settings = load_settings(**{name: "0.3," * 50_000})
        with pytest.raises(SettingsError, match=name.removeprefix("default_")):
            default_chain(settings, pipelines(settings))


def test_as_many_zones_as_allowed_are_taken() -> None:
    zones = [[[x / MOST_POINTS, 0.5] for x in range(MOST_POINTS)]] * MOST_POLYGONS
    assert [len(zone) for zone in parse_zones("ignore_zones", json.dumps(zones))] == [100] * 20


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"default_targets": "face,dragon"}, "targets"),
        ({"default_threshold": "dragon=0.3"}, "threshold"),
        ({"default_threshold": "2"}, "threshold"),
        ({"default_ignore_zones": "[[[0, 0]]]"}, "ignore_zones[0]"),
        ({"default_redact_zones": [[[0, 0], [1, 0]]]}, "redact_zones"),
    ],
)
def test_settings_that_can_not_be_used_are_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        default_chain(load_settings(**settings), pipelines(load_settings()))
    assert f"DEFAULT_*: {named}" in caught.value.message


def test_a_default_pipeline_that_does_not_exist_is_named() -> None:
    with pytest.raises(SettingsError, match="DEFAULT_PIPELINE must be one of blur_detect, blur"):
        default_chain(load_settings(default_pipeline="none"), pipelines(load_settings()))


def test_every_option_has_a_setting_of_its_name() -> None:
    assert {f"default_{name}" for name in (*NAMES, "pipeline")} == {
        name for name in Settings.model_fields if name.startswith("default_")
    }


@pytest.mark.parametrize("name", [*NAMES, "pipeline"])
def test_every_option_is_explained_with_its_field_its_flag_and_its_setting(name: str) -> None:
    row = f"| `{name}` | `--{name.replace('_', '-')}` | `DEFAULT_{name.upper()}` |"
    assert row in (ROOT / "README.md").read_text()
    page = (ROOT / "docs/options.md").read_text()
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert any(name in heading.removeprefix("## ").split(", ") for heading in headings)
