"""`blurline models`: which networks there are, and that they come."""

import re
from pathlib import Path

import pytest

from blurline.models.catalogue import catalogue
from blurline.models.sources import PackageFile
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from tests.commands import Cli, Ended


def test_the_networks_are_listed_with_their_licences(cli: Cli) -> None:
    end = cli("models", "list")

    assert end.code == 0
    for model in catalogue().values():
        assert re.search(rf"{model.name} .*{re.escape(model.licence)}", end.out)


def test_the_list_says_which_networks_are_here(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here() -> dict[str, bool]:
        out = cli("models", "list").out
        found = re.findall(r"│ (\w+) .*│ (yes|no) +│", out)
        return {name: answer == "yes" for name, answer in found}

    assert here()["yolo11n"]
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert here() == {
        name: isinstance(model.source, PackageFile) for name, model in catalogue().items()
    }


def test_pull_says_where_the_networks_are(cli: Cli) -> None:
    end = cli("models", "pull")

    assert end.code == 0
    pulled = dict(line.split(": ", 1) for line in end.out.splitlines())
    used = {name for one in pipelines(load_settings()).values() for name in one.networks}
    assert set(pulled) == used
    assert all(Path(path).is_file() for path in pulled.values())


def test_a_quiet_pull_says_nothing(cli: Cli) -> None:
    assert cli("models", "pull", "--quiet") == Ended(0, "", "")


def test_an_unknown_network_is_refused_with_the_known_ones(cli: Cli) -> None:
    end = cli("models", "pull", "nonsense")

    assert end.code == 2
    assert "nonsense" in end.err
    assert all(name in end.err for name in catalogue())
