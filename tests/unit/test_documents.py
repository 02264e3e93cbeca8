"""What the documents say is what the code does."""

import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from bench.__main__ import COMMANDS
from bench.leaks import carriers
from blurline.api.errors import STATUS_OF_CODE
from blurline.imaging.kind import Kind
from blurline.imaging.metadata import MetadataPolicy
from blurline.models.catalogue import catalogue
from blurline.pipeline_architecture import pipelines
from blurline.settings import load_settings
from blurline.storage.vault import Originals
from tests.parts import ROOT, drawing

README = (ROOT / "README.md").read_text()
PRIVACY = (ROOT / "docs/privacy.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_lists_every_error_with_its_status() -> None:
    rows = re.findall(r"^\| (\d{3}) \| (.+) \|$", README, re.MULTILINE)
    listed = {
        code: int(status)
        for status, codes in rows
        for code in re.findall(r"`([a-z_]+)`", codes.split(", for ")[0])
    }
    hidden = {"method_not_allowed"}  # of no use to a caller who follows the README
    assert listed == {code: s for code, s in STATUS_OF_CODE.items() if code not in hidden}


def test_the_readme_lists_every_network_with_its_licence() -> None:
    table = README.split("## Models and their licences")[1]
    rows = re.findall(r"^\| `(\w+)`[^|]*\|[^|]*\| \**([\w.-]+)", table, re.MULTILINE)
    assert dict(rows) == {model.name: model.licence for model in catalogue().values()}


def test_the_readme_names_every_pipeline_and_every_target_with_a_network() -> None:
    for pipeline in pipelines(load_settings()).values():
        assert f"`{pipeline.name}`" in README
        for name, target in pipeline.targets.items():
            if target.model is not None:
                assert f"`{name}`" in README


def test_the_privacy_page_says_what_stays_for_every_kind_and_every_policy() -> None:
    for kind in Kind:
        assert re.search(rf"^\| {kind} \|", PRIVACY, re.MULTILINE | re.IGNORECASE), kind
    for word in (*MetadataPolicy, *Originals):
        assert re.search(rf"^\| `{word}`", PRIVACY, re.MULTILINE), word


def test_the_table_of_leaks_has_every_place_in_which_something_is_planted() -> None:
    photo, face = Image.fromarray(drawing(96, 64)), Image.fromarray(drawing(48, 32))
    planted = carriers(photo, face)
    table = PRIVACY.split("### Beside a peer")[1].split("```")[0]
    rows = re.findall(r"^\| ([^|]+) \| (?:gone|\*\*)", table, re.MULTILINE)
    assert rows == [carrier.name for carrier in planted]
    for carrier in planted:
        assert carrier.trace in carrier.file, carrier.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), link


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for named in re.findall(r"^(?:\w+=\S+ )?make ([a-z -]+)", page.read_text(), re.MULTILINE):
            assert set(named.split()) <= targets, page


def test_every_service_that_a_document_has_compose_act_on_exists() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    act = re.compile(
        r"docker compose (?:--profile \w+ )?(?:up|run|exec|stop|kill|restart|ps|logs|rm|build)"
        r"((?: --?\w[\w-]*(?: \"[^\"]+\"| 15m)?)*)((?: [a-z][a-z0-9-]*)*)"
    )
    several = {"up", "stop", "kill", "restart", "ps", "logs", "rm", "build"}
    named = 0
    for page in PAGES:
        for found in act.finditer(page.read_text()):
            verb = found[0].split()[2]
            words = found[2].split()
            for word in words if verb in several else words[:1]:
                assert word in services, f"{page.name}: {found[0]}"
                named += 1
    assert named > 10


def test_every_measurement_that_a_document_names_exists_and_each_has_its_figures() -> None:
    named = {
        page.name: set(re.findall(r'BENCH_ARGS="?([a-z][a-z-]+)', page.read_text()))
        for page in PAGES
    }
    assert set().union(*named.values()) <= set(COMMANDS)
    assert named["performance.md"] == set(COMMANDS)
