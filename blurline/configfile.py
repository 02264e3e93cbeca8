"""Settings in a JSON file, which `PIPELINE_CONFIG` names."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from blurline.errors import SettingsError

CONFIG_VARIABLE = "PIPELINE_CONFIG"
AWS_CONFIG_KEYS = {
    "bucket": "s3_bucket",
    "region": "aws_region",
    "endpoint_url": "aws_endpoint_url",
}


class ConfigFileSource(PydanticBaseSettingsSource):
    """Reads the JSON file that `PIPELINE_CONFIG` names."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # the whole file is read at once by __call__

    def __call__(self) -> dict[str, Any]:
        name = os.environ.get(CONFIG_VARIABLE)
        return read_config_file(Path(name), self.settings_cls.model_fields) if name else {}


def read_config_file(path: Path, known: Collection[str]) -> dict[str, Any]:
    """The settings in a JSON file, by field name; its `aws_config` object is laid flat.

    Args:
        known: the names of all settings.

    Raises:
        SettingsError: the file is missing, is no JSON object, or holds an unknown key.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise SettingsError(f"{CONFIG_VARIABLE}: {path}: {reason}") from error
    except ValueError as error:
        raise SettingsError(f"{CONFIG_VARIABLE}: {path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("aws_config", {}), dict):
        raise SettingsError(
            f"{CONFIG_VARIABLE}: {path} must hold one JSON object, as must its aws_config"
        )
    values = {key: value for key, value in content.items() if key != "aws_config"}
    for key, value in content.get("aws_config", {}).items():
        if key not in AWS_CONFIG_KEYS:
            raise SettingsError(
                f"{CONFIG_VARIABLE}: unknown key aws_config.{key} in {path}; known: "
                f"{', '.join(AWS_CONFIG_KEYS)}. Credentials come from boto3's chain "
                "(environment, profile, SSO or role), never from this file"
            )
        values[AWS_CONFIG_KEYS[key]] = value
    if "webhook_secret" in values:
        raise SettingsError(
            f"{CONFIG_VARIABLE}: {path} may not hold webhook_secret; it comes from the environment"
        )
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise SettingsError(
            f"{CONFIG_VARIABLE}: unknown key {unknown[0]} in {path}; docs/settings.md lists them"
        )
    return values
