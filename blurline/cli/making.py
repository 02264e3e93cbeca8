"""A run of pipelines over files: its options, its networks, its recipe."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from blurline.cli.maker import Maker, written
from blurline.cli.models import pull_networks
from blurline.cli.series import Series, make_all, series_of
from blurline.cli.walk import KIND_OF_ENDING
from blurline.errors import OptionError
from blurline.imaging.header import limits_of
from blurline.imaging.kind import OutputFormat
from blurline.inference.mapper import Networks
from blurline.machine import usable_cores
from blurline.models.inference import inference
from blurline.models.load import load_networks
from blurline.settings import Settings
from blurline.stages.options import OUTPUT_FORMAT
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Chain, check_options
from blurline.treatment.families import open_treatment
from blurline.treatment.outputs import Treated


@dataclass(frozen=True, slots=True)
class Making:
    """What a command was told of files; see `Maker` for the flags.

    Attributes:
        source: a picture, or a folder of pictures.
        target: where its result goes, or the folder of results.
        tell: what a line says of what came of a picture.
    """

    source: Path
    target: Path
    tell: Callable[[Treated], dict[str, Any]]
    again: bool
    force: bool
    verbose: bool

    def run(self, settings: Settings, chain: Chain, values: Values, *, asked: bool) -> int:
        """Make all results; the exit status, see `make_all`.

        Args:
            asked: the caller has named a kind of file, so that a name must not say another one.

        Raises:
            BlurlineError: nothing can be begun, or there can be no more results.
        """
        check_options(chain, values)
        series = series_of(self.source, self.target, partial(written, chain, values))
        _check_ending(series, OutputFormat(OUTPUT_FORMAT.of(values)), asked=asked)
        names = sorted(frozenset[str]().union(*(one.models(values) for one in chain.pipelines)))
        pull_networks(settings, names)
        networks = load_networks(names, inference(settings))
        maker = Maker(
            chain,
            values,
            open_treatment(settings, networks),
            limits_of(settings),
            settings.jpeg_quality,
            recipe_of(chain, values, networks, settings.jpeg_quality),
            self.tell,
            again=self.again,
            force=self.force,
        )
        threads = settings.worker_threads or 2 * usable_cores()
        return make_all(series, maker, threads, verbose=self.verbose)


def recipe_of(chain: Chain, values: Values, networks: Networks, quality: int) -> bytes:
    """What decides on a result beside the picture; an option that says what it would is not in it,
    so that one that a later version brings changes nothing."""
    hashes = {name: network.sha256 for name, network in sorted(networks.items())}
    options = chain.options
    chosen = {
        name: values[name]
        for name in sorted(values)
        if name not in options or values[name] != options[name].of({**values, name: None})
    }
    return json.dumps([chain.name, chosen, hashes, quality]).encode()


def or_file(text: str) -> str:
    """The text, or what is in the file that it names after an @."""
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror or 'not readable'}") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{path} is not JSON: it is no text") from error
    if not content:
        raise OptionError(f"{path} is empty; [] stands for no zones")
    return content


def _check_ending(series: Series, asked_format: OutputFormat, *, asked: bool) -> None:
    """Refuse a result whose name says another kind than the flag; a default gives way to it."""
    for task in series.tasks:
        said = KIND_OF_ENDING.get(task.result.suffix.lower())
        fits = asked_format in (OutputFormat.SAME, said and said.value)
        if task.is_single and asked and said and not fits:
            raise OptionError(
                f"{task.result} is to be {said}, and --output-format says {asked_format}"
            )
