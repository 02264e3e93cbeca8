"""How commands start: settings, their log, the pipelines, and what a stop means."""

import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

import typer

from blurline.log import configure_logging
from blurline.settings import Settings, load_settings
from blurline.stages.defaults import default_chain
from blurline.stages.pipeline import Pipeline
from blurline.webhooks.rules import webhooks_of

Pipelines = Mapping[str, Pipeline]


def settings_of(**flags: Any) -> Settings:
    """The settings in force, by which the command logs; flags that are None are as if not given.

    Raises:
        SettingsError: one line that names the setting and what is wrong with it.
    """
    settings = load_settings(**flags)
    configure_logging(settings)
    return settings


def pipelines_of(context: typer.Context, settings: Settings) -> Pipelines:
    """The pipelines by name. The entry point, which alone knows them, leaves them as `obj`."""
    found: Pipelines = context.obj(settings)
    return found


def check_defaults(settings: Settings, pipelines: Pipelines) -> None:
    """Refuse settings that the API would refuse, in its log and again at each start."""
    default_chain(settings, pipelines)
    webhooks_of(settings)


def treat_stop_as_interrupt() -> None:
    """Treat SIGTERM as Ctrl+C, so that all that was started is stopped."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
