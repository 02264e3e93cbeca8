"""The command `blurline`: what it is made of, and what it teaches."""

import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from blurline import __version__
from blurline.cli.main import app
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from tests.commands import Cli


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    yield words, command
    for name, inner in inner_commands(command).items():
        yield from commands(inner, (*words, name))


def inner_commands(command: Any) -> dict[str, Any]:
    """The commands of a group by name; those of `run` are the pipelines."""
    if not hasattr(command, "list_commands"):
        return {}
    context = command.context_class(command, obj=pipelines)
    return {name: command.get_command(context, name) for name in command.list_commands(context)}


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_there_is_a_command_for_each_need() -> None:
    assert set(COMMANDS) == {
        (),
        ("redact",),
        ("run",),
        *(("run", name) for name in pipelines(load_settings())),
        ("reconcile",),
        ("evaluate",),
        ("up",),
        ("worker",),
        ("upkeep",),
        ("demo",),
        ("verify",),
        ("audit",),
        ("audit", "verify"),
        ("models",),
        ("models", "list"),
        ("models", "pull"),
        ("keys",),
        ("keys", "init"),
        ("keys", "new"),
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_tells_of_every_option_and_command(cli: Cli, words: tuple[str, ...]) -> None:
    command = COMMANDS[words]

    end = cli(*words, "--help")

    assert end.code == 0
    assert command.help
    assert command.help.splitlines()[0] in end.out
    for name, inner in inner_commands(command).items():
        assert re.search(rf"│ {name} +{re.escape(inner.get_short_help_str(20)[:10])}", end.out)
    for parameter in command.params:
        assert parameter.help, parameter.name
        assert " ".join(parameter.help.split()[:3]) in end.out
        assert all(flag in end.out for flag in parameter.opts)


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_breaks_its_lines_only_where_the_terminal_ends(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))

    out = cli(*words, "--help").out

    assert all(len(line) <= width for line in out.splitlines())
    told = re.split(r"\n\s*\n", out.partition("╭")[0].rstrip())[1:]
    assert [" ".join(paragraph.split()) for paragraph in told] == [
        " ".join(paragraph.split()) for paragraph in COMMANDS[words].help.split("\n\n")
    ]
    for paragraph in told:
        lines = [line.strip() for line in paragraph.splitlines()]
        for line, following in pairwise(lines):
            # One space on either side, and the word that begins the next line does not fit.
            assert len(line) + 1 + len(following.split()[0]) > width - 2, line
        assert len(lines) == 1 or not lines[0].startswith("blurline ")


def test_the_help_of_redact_shows_how_it_is_called(cli: Cli) -> None:
    end = cli("redact", "-h")

    assert "blurline redact street.jpg blurred.jpg" in end.out
    assert "face,license_plate" in end.out
    assert "face=0.3,license_plate=0.2" in end.out
    assert "--ignore-zones @hoarding.json" in end.out
    assert all(style in end.out for style in ("mosaic", "solid", "gaussian"))


def test_without_words_it_shows_its_help(cli: Cli) -> None:
    end = cli()

    assert "redact" in end.out + end.err
    assert "demo" in end.out + end.err


@pytest.mark.process
def test_the_installed_command_tells_its_version() -> None:
    command = Path(sys.executable).with_name("blurline")

    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"blurline {__version__}\n"
