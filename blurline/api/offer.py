"""What the service can do with a picture, for `GET /pipelines`."""

from collections.abc import Mapping

from blurline.api.schemas import NetworkAnswer, OptionAnswer, PipelineAnswer, PipelinesAnswer
from blurline.intake.backpressure import BackPressure
from blurline.settings import Settings
from blurline.stages.defaults import default_texts
from blurline.stages.pipeline import Pipeline


def pipelines_answer(
    settings: Settings,
    pipelines: Mapping[str, Pipeline],
    backpressure: Mapping[str, BackPressure],
) -> PipelinesAnswer:
    """All pipelines, with what may be chosen of each, and whether its networks are there.

    Raises:
        QueueUnavailableError: it can't be asked which networks the workers have.
    """
    defaults = default_texts(settings)
    return PipelinesAnswer(
        default=settings.default_pipeline,
        pipelines=[
            PipelineAnswer(
                name=pipeline.name,
                summary=pipeline.summary,
                family=pipeline.family,
                queue=pipeline.queue,
                patience_seconds=pipeline.patience,
                stages=[stage.name for stage in pipeline.stages],
                options=[
                    OptionAnswer(
                        name=option.name,
                        help=option.help,
                        default=defaults.get(option.name) or option.default,
                        values=[str(word) for word in option.words],
                        example=option.example,
                    )
                    for option in pipeline.options.values()
                ],
                networks=_networks(pipeline, backpressure[pipeline.queue].load.loaded_models()),
            )
            for pipeline in pipelines.values()
        ],
    )


def _networks(pipeline: Pipeline, loaded: frozenset[str] | None) -> list[NetworkAnswer]:
    def status(name: str) -> str:
        if loaded is None:
            return "unknown"
        return "ok" if name in loaded else "missing"

    return [NetworkAnswer(name=name, status=status(name)) for name in sorted(pipeline.networks)]
