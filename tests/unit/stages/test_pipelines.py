"""Options that pipelines declare, chains of pipelines, and who may claim what."""

from dataclasses import replace
from typing import Any

import pytest

from blurline.certificate.certificate import TransformedPicture
from blurline.errors import BlurlineError, OptionError, PictureError, SettingsError
from blurline.imaging.header import Limits, read_header
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.stages.options import options_of, values_of
from blurline.stages.optiontable import Option, OptionTable, number, one_of
from blurline.stages.pipeline import (
    Chain,
    Family,
    Pipeline,
    Redacting,
    Transforming,
    chain_of,
    output_size,
)
from blurline.treatment.chain import ChainTreatment
from blurline.treatment.outputs import Context, Output, Role, Source, Treated
from tests.toys import BORDER, SHADE, TOY, Framed

LIMITS = Limits(10**8, 10**8)
BLUR = pipelines(load_settings())["blur"]
BOTH = pipelines(load_settings())
KNOWN = {**BOTH, "frame": TOY, "again": replace(TOY, name="again")}


# The table of options


def test_what_is_given_wins_over_the_settings_and_these_over_the_default() -> None:
    table = OptionTable([BORDER, SHADE])
    assert table.read({}, {}) == {"border": 4, "shade": 0.5}
    assert table.read({"border": "8"}, {"border": "0", "shade": "1"}) == {"border": 8, "shade": 1}
    assert table.read({"border": ""}, {}) == table.read({}, {})


def test_an_option_that_the_pipeline_has_not_is_refused_with_those_that_it_has() -> None:
    with pytest.raises(OptionError, match="no option style here; its options are border, shade"):
        TOY.options.read({"style": "solid"}, {})
    with pytest.raises(OptionError, match="it has no options"):
        OptionTable([]).read({"border": "4"}, {})
    assert TOY.options.read({"style": ""}, {})["border"] == 4


@pytest.mark.parametrize("text", ["5", "4.0", "many", "-4", "nan"])
def test_a_word_that_is_none_of_few_is_refused_with_these(text: str) -> None:
    with pytest.raises(OptionError, match="border must be one of 0, 4, 8"):
        OptionTable([BORDER]).read({"border": text}, {})


@pytest.mark.parametrize("text", ["1.01", "-0.1", "nan", "inf", "light", "1e999"])
def test_a_number_outside_its_range_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(OptionError, match="shade must be a number from 0 to 1"):
        OptionTable([SHADE]).read({"shade": text}, {})


def test_a_text_that_is_too_long_is_refused() -> None:
    table = OptionTable([Option("short", number("short", 0, 1), "0", "h", longest=3)])
    assert table.read({"short": "0.5"}, {}) == {"short": 0.5}
    with pytest.raises(OptionError, match="at most 3 characters"):
        table.read({"short": "0.55"}, {})


def test_an_option_of_several_stages_counts_once() -> None:
    other = Option("border", one_of("border", (1, 2)), "1", "h")
    assert list(OptionTable([BORDER, SHADE, other])) == ["border", "shade"]
    assert OptionTable([BORDER, other])["border"] is BORDER


def test_a_job_of_before_an_option_has_its_default() -> None:
    assert BORDER.of({}) == 4
    assert BORDER.of({"border": 8}) == 8


def test_the_values_of_redaction_are_plain_json_and_come_to_the_same_options() -> None:
    values = BLUR.options.read({"targets": "face", "threshold": "0.3"}, {})
    assert values["targets"] in (("face",), ["face"])
    assert options_of(values_of(options_of(values))) == options_of(values)


# Chains


@pytest.mark.parametrize("asked", ["blur,frame", "frame,blur", " frame , blur "])
def test_redaction_comes_first_whatever_the_order_asked(asked: str) -> None:
    chain = chain_of(KNOWN, asked)
    assert chain.name == "blur,frame"
    assert chain.queue == TOY.queue
    assert chain.targets == BLUR.targets


def test_pipelines_that_do_not_redact_keep_their_order() -> None:
    assert chain_of(KNOWN, "again,blur,frame").name == "blur,again,frame"


def test_a_chain_has_the_options_of_all_its_pipelines() -> None:
    assert set(chain_of(KNOWN, "frame,blur").options) == {*BLUR.options, *TOY.options}


@pytest.mark.parametrize("asked", ["blur,blur_detect", "frame,blur,frame", "blur,blur"])
def test_a_chain_redacts_once_and_names_each_once(asked: str) -> None:
    with pytest.raises(OptionError, match="each pipeline once, and one that redacts"):
        chain_of(KNOWN, asked)


@pytest.mark.parametrize("asked", ["", ",", "blur,", "blurs", "blur,nothing", "blur;frame"])
def test_a_chain_of_what_is_not_there_is_refused_with_what_there_is(asked: str) -> None:
    with pytest.raises(OptionError, match=r"one of blur_detect, blur, .*frame, again, or several"):
        chain_of(KNOWN, asked)


def test_the_size_of_the_result_is_that_after_all_pipelines() -> None:
    chain = chain_of(KNOWN, "blur,frame,again")
    assert output_size(chain, 10, 20, {"border": 8}, 10**6) == (42, 52)
    with pytest.raises(PictureError, match="42 x 52 pixels; at most 2183 are made") as caught:
        output_size(chain, 10, 20, {"border": 8}, 42 * 52 - 1)
    assert caught.value.code == "too_many_pixels"
    assert output_size(chain, 10, 20, {"border": 0}, 1) == (10, 20)


def test_the_stages_are_those_of_their_families() -> None:
    assert isinstance(Framed(), Transforming)
    assert not isinstance(Framed(), Redacting)
    for pipeline in pipelines(load_settings()).values():
        wanted = Redacting if pipeline.family is Family.REDACTION else Transforming
        assert all(isinstance(stage, wanted) for stage in pipeline.stages), pipeline.name


# Who may claim what


def test_only_redaction_may_have_targets() -> None:
    with pytest.raises(ValueError, match="only the redaction family may have targets"):
        Pipeline("odd", "Odd", Family.TRANSFORM, BLUR.stages, "q", 1.0)


class Careless:
    """A treatment that hands the picture on as it is."""

    def treat(self, source: Source, pipeline: Pipeline, values: Any, context: Context) -> Treated:
        picture = Output("picture.jpg", Role.PRIMARY, "image/jpeg", source.data, 320, 240)
        return Treated((picture,), {}, TransformedPicture((pipeline.name,)))


@pytest.mark.parametrize("asked", ["blur", "blur,frame"])
def test_of_a_pipeline_with_targets_nothing_but_a_redacted_picture_is_published(
    small_jpeg: bytes, asked: str
) -> None:
    treatment = ChainTreatment(dict.fromkeys(Family, Careless()), LIMITS)
    source = Source(small_jpeg, read_header(small_jpeg, LIMITS))
    with pytest.raises(BlurlineError) as caught:
        treatment.treat(source, chain_of(KNOWN, asked), {}, Context())
    assert caught.value.code == "not_redacted"
    assert treatment.treat(source, Chain((TOY,)), {}, Context()).primary.data == small_jpeg


def test_only_the_pipelines_that_are_offered_are_there() -> None:
    known = pipelines(load_settings(pipelines="blur, blur_detect"))
    assert set(known) == {"blur", "blur_detect"}
    with pytest.raises(OptionError, match="pipeline must be one of"):
        chain_of(known, "blur,upscale")
    with pytest.raises(SettingsError, match="PIPELINES: there is no blurr, but blur_detect"):
        pipelines(load_settings(pipelines="blurr"))
