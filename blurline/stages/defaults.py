"""What is offered, and what holds where a caller says nothing, by the settings."""

from collections.abc import Mapping, Sequence

from blurline.errors import OptionError, SettingsError
from blurline.settings import Settings
from blurline.stages.pipeline import Chain, Pipeline, chain_of


def offered(settings: Settings, pipelines: Sequence[Pipeline]) -> dict[str, Pipeline]:
    """Those of the pipelines that `PIPELINES` names, or all of them without that, by name.

    Raises:
        SettingsError: there is none of a name.
    """
    known = {pipeline.name: pipeline for pipeline in pipelines}
    wanted = settings.offered or tuple(known)
    if unknown := sorted(set(wanted) - set(known)):
        raise SettingsError(f"PIPELINES: there is no {unknown[0]}, but {', '.join(known)}")
    return {name: pipeline for name, pipeline in known.items() if name in wanted}


def default_texts(settings: Settings) -> dict[str, str]:
    """By option the text of its setting `DEFAULT_<NAME>`; options without one have their own."""
    prefix, told = "default_", settings.model_dump(mode="json")
    return {
        name.removeprefix(prefix): str(value)
        for name, value in told.items()
        if name.startswith(prefix) and value is not None
    }


def default_chain(settings: Settings, pipelines: Mapping[str, Pipeline]) -> Chain:
    """The pipelines of a caller who names none, whose defaults are checked.

    Raises:
        SettingsError: `DEFAULT_PIPELINE` is none of them, or one of the settings that begin with
            `DEFAULT_` can't be used.
    """
    try:
        chain = chain_of(pipelines, settings.default_pipeline)
    except OptionError as error:
        raise SettingsError(f"DEFAULT_PIPELINE must be one of {', '.join(pipelines)}") from error
    try:
        chain.options.read({}, default_texts(settings))
    except OptionError as error:
        raise SettingsError(f"of the settings DEFAULT_*: {error.message}") from error
    return chain
