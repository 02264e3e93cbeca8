"""The one table of settings and where its values come from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blurline.errors import SettingsError
from blurline.settings import Settings, load_settings, settings_page
from tests.parts import ROOT

SECRET = "wJalrXUtnFEMI"  # noqa: S105 - what must not come back in a message


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Path]:
    """Write the JSON file that `PIPELINE_CONFIG` names; text and bytes are written as they are."""

    def write(content: Any) -> Path:
        path = tmp_path / "pipeline.json"
        if not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        monkeypatch.setenv("PIPELINE_CONFIG", str(path))
        return path

    return write


def complaint(**overrides: Any) -> str:
    """The one line that says what is wrong."""
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    message = caught.value.message
    assert message
    assert "\n" not in message
    return message


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    config: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config({"max_queue_size": 11, "num_workers": 12, "job_timeout": 13})
    monkeypatch.setenv("MAX_QUEUE_SIZE", "21")
    monkeypatch.setenv("NUM_WORKERS", "22")
    settings = load_settings(max_queue_size=31)
    assert settings.max_queue_size == 31
    assert settings.num_workers == 22
    assert settings.job_timeout == 13
    assert settings.failure_ttl == Settings.model_fields["failure_ttl"].default


def test_the_file_has_the_keys_of_the_pipeline(config: Callable[[Any], Path]) -> None:
    config(
        {
            "redis_url": "redis://queue:6379/1",
            "aws_config": {
                "bucket": "photos",
                "region": "eu-central-1",
                "endpoint_url": "http://store:9000",
            },
            "num_workers": 4,
            "max_queue_size": 50,
        }
    )
    settings = load_settings()
    assert settings.redis_url == "redis://queue:6379/1"
    assert settings.s3_bucket == "photos"
    assert settings.aws_region == "eu-central-1"
    assert settings.aws_endpoint_url == "http://store:9000"
    assert (settings.num_workers, settings.max_queue_size) == (4, 50)


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.redis_url is settings.s3_bucket is settings.store_url is None
    assert settings.queue_name == "image_processing_queue"
    assert settings.max_queue_size == 1000
    assert settings.max_image_bytes == 50_000_000
    assert settings.max_image_pixels == 100_000_000
    assert settings.default_targets == "face,license_plate"
    assert (settings.default_style, settings.default_quality) == ("mosaic", "balanced")
    assert settings.default_threshold is None
    assert settings.default_ignore_zones == settings.default_redact_zones == "[]"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "NUM_WORKERS", "S3_BUCKET", "PIPELINE_CONFIG"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert (settings.redis_url, settings.num_workers, settings.s3_bucket) == (None, 1, None)


def test_a_flag_that_was_not_given_does_not_count() -> None:
    assert load_settings(port=None) == load_settings()


def test_words_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    monkeypatch.setenv("DEVICE", "CPU")
    monkeypatch.setenv("DEFAULT_QUALITY", "Fast")
    settings = load_settings()
    assert (settings.log_level, settings.device, settings.default_quality) == (
        "warning",
        "cpu",
        "fast",
    )


def test_zones_are_polygons_in_the_file_and_text_in_the_environment(
    config: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config({"default_ignore_zones": [[[0, 0], [1, 0], [1, 1]]]})
    monkeypatch.setenv("DEFAULT_REDACT_ZONES", "[[[0, 0], [1, 0], [1, 1]]]")
    settings = load_settings()
    assert settings.default_ignore_zones == settings.default_redact_zones


def test_networks_are_cached_where_the_user_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MODEL_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert load_settings().model_dir == tmp_path / "blurline" / "models"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NUM_WORKERS", "many"),
        ("NUM_WORKERS", "0"),
        ("MAX_QUEUE_SIZE", "-1"),
        ("JPEG_QUALITY", "101"),
        ("PORT", "65536"),
        ("DEFAULT_STYLE", "pixelate"),
        ("DEFAULT_QUALITY", "best"),
        ("DEVICE", "tpu"),
        ("MAX_BATCH_SIZE", "0"),
        ("MAX_QUEUE_DELAY", "1.5"),
        ("INFERENCE_PRECISION", "f16"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("WEBHOOK_ALLOW_HTTP", "perhaps"),
    ],
)
def test_a_bad_value_is_named_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, config: Callable[[Any], Path]
) -> None:
    monkeypatch.setenv(name, value)
    assert complaint().startswith(f"{name}: ")
    monkeypatch.delenv(name)
    config({name.lower(): value})
    assert complaint().startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        ([], "one JSON object"),
        ("null", "one JSON object"),
        ({"aws_config": "photos"}, "aws_config"),
        ({"aws_config": None}, "aws_config"),
        ({"workers": 4}, "unknown key workers"),
        ({"NUM_WORKERS": 4}, "unknown key NUM_WORKERS"),
        ({"aws_config": {"buckets": "photos"}}, r"unknown key aws_config.buckets"),
    ],
)
def test_a_bad_file_is_named_in_one_line(
    content: Any, named: str, config: Callable[[Any], Path]
) -> None:
    path = config(content)
    message = complaint()
    assert message.startswith("PIPELINE_CONFIG: ")
    assert str(path) in message
    assert named in message


def test_a_file_that_is_not_there_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIPELINE_CONFIG", str(tmp_path / "nowhere.json"))
    assert "nowhere.json: No such file" in complaint()
    monkeypatch.setenv("PIPELINE_CONFIG", str(tmp_path))
    assert str(tmp_path) in complaint()


@pytest.mark.parametrize(
    "content",
    [
        {"aws_config": {"aws_access_key_id": SECRET}},
        {"aws_config": {"aws_secret_access_key": SECRET}},
        {"aws_config": {"bucket": "photos", "access_key": SECRET}},
        {"aws_secret_access_key": SECRET},
    ],
)
def test_credentials_in_the_file_are_refused_and_not_repeated(
    content: dict[str, Any], config: Callable[[Any], Path]
) -> None:
    config(content)
    message = complaint()
    assert "unknown key" in message
    assert SECRET not in message


def test_the_secret_of_webhooks_in_the_file_is_refused_and_not_repeated(
    config: Callable[[Any], Path],
) -> None:
    config({"webhook_secret": SECRET})
    message = complaint()
    assert "webhook_secret" in message
    assert SECRET not in message


def test_two_stores_at_once_are_refused() -> None:
    assert "S3_BUCKET and STORE_URL" in complaint(s3_bucket="photos", store_url="gs://photos")


def test_a_setting_that_does_not_exist_is_refused() -> None:
    assert complaint(colour="red").startswith("COLOUR: ")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc]


def test_the_settings_page_is_current() -> None:
    """`make docs` writes it."""
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_explained_on_the_page(name: str) -> None:
    rows = [row for row in settings_page().splitlines() if row.startswith(f"| `{name.upper()}` |")]
    assert len(rows) == 1
    _, kind, default, meaning = (cell.strip() for cell in rows[0].strip("|").split("|"))
    assert kind
    assert default
    assert len(meaning) > 10
