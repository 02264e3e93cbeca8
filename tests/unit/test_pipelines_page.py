"""docs/pipelines.md says of each pipeline what it can be asked."""

import re

import pytest

from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.stages.optiontable import Option
from blurline.stages.pipeline import Family, Pipeline
from tests.parts import ROOT

PAGE = (ROOT / "docs/pipelines.md").read_text()
PIPELINES = pipelines(load_settings())


def row(option: Option[object]) -> str:
    """The option's line in the page's tables."""
    words = ", ".join(f"`{word}`" for word in option.words) or f"such as `{option.example}`"
    return f"| `{option.name}` | {words} | `{option.default}` | {option.help} |"


def section(name: str) -> str:
    found = re.search(rf"^## {re.escape(name)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/pipelines.md has no section {name}"
    return found[1]


@pytest.mark.parametrize(
    "pipeline",
    [one for one in PIPELINES.values() if one.family is not Family.REDACTION],
    ids=lambda pipeline: pipeline.name,
)
def test_each_pipeline_has_its_section_with_its_own_options(pipeline: Pipeline) -> None:
    own = [option for stage in pipeline.stages for option in stage.options]
    rows = re.findall(r"^\| `.*$", section(pipeline.name), re.MULTILINE)
    assert rows == [row(option) for option in own]


def test_no_section_is_of_a_pipeline_that_is_gone() -> None:
    named = set(re.findall(r"^## ([a-z_-]+)$", PAGE, re.MULTILINE))
    assert named <= set(PIPELINES)


def test_the_options_of_all_are_those_of_the_family() -> None:
    common = next(one for one in PIPELINES.values() if one.family is Family.TRANSFORM).common
    rows = re.findall(r"^\| `.*$", section("What all of them take"), re.MULTILINE)
    assert rows == [row(option) for option in common]
