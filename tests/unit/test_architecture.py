"""The layout that docs/architecture.md promises."""

import ast
import re
from pathlib import Path

import pytest

from tests.parts import ROOT

PACKAGE = ROOT / "blurline"
ENTRIES = ("api", "worker", "upkeep")
ENTRY_POINTS = {PACKAGE / "cli/main.py", *(PACKAGE / f"entry/{name}.py" for name in ENTRIES)}
OTHER_NAMES = ("api_server", "worker", "pipeline_architecture")
"""Files at the top of the checkout, for who runs that."""
MODULES = sorted(PACKAGE.rglob("*.py"))


def layers() -> list[str]:
    """The modules and folders of the table in docs/architecture.md, the lowest first."""
    page = (ROOT / "docs/architecture.md").read_text()
    table = page.split("## The house")[1].split("##")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    return [name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def layer_of(module: str) -> str:
    """The layer of `blurline.worker.loop` is `worker`."""
    return module.split(".")[1]


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "blurline":
                found |= {f"blurline.{alias.name}" for alias in node.names}
    return found


def test_the_document_names_every_layer() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    files = {path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    assert sorted(layers()) == sorted(folders | files)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    order = layers()
    base = order.index("imaging")
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module in imports_of(path):
        if not module.startswith("blurline.") or module == "blurline.__version__":
            continue
        other = layer_of(module)
        same_floor = order.index(own) < base and order.index(other) < base
        assert same_floor or order.index(other) <= order.index(own), f"{own} imports {module}"


def importers(*modules: str) -> set[str]:
    """The layers that import one of these modules or of what is below them."""
    below = tuple(f"{module}." for module in modules)
    return {
        path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for path in MODULES
        if any(name in modules or name.startswith(below) for name in imports_of(path))
    }


def test_what_hands_pictures_in_runs_no_worker_and_no_treatment() -> None:
    for path in MODULES:
        layer = path.relative_to(PACKAGE).parts[0]
        if layer in ("api", "intake", "webhooks", "queue", "access"):
            found = imports_of(path)
            assert not {name for name in found if name.startswith("blurline.worker")}, path
            treatments = {name for name in found if name.startswith("blurline.treatment")}
            assert treatments <= {"blurline.treatment.outputs"}, path


def test_jobs_know_what_comes_of_a_treatment_and_no_treatment() -> None:
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] == "jobs":
            found = {name for name in imports_of(path) if name.startswith("blurline.treatment")}
            assert found <= {"blurline.treatment.outputs"}, path
            assert not {name for name in imports_of(path) if "redaction" in name}, path


def test_rq_is_known_to_the_queue_and_to_workers_alone() -> None:
    assert importers("rq") == {"queue", "worker"}


def test_regions_are_known_to_the_redaction_family_and_to_who_measures_it() -> None:
    redaction = {"redaction", "stages", "treatment", "certificate", "evaluation", "cli"}
    assert importers("blurline.redaction") <= redaction
    for path in (PACKAGE / "treatment").glob("*.py"):
        if path.stem in ("transform", "outputs", "chain"):
            assert not {name for name in imports_of(path) if name.startswith("blurline.redaction")}


def test_only_entry_points_know_the_pipelines() -> None:
    who = {path for path in MODULES if "blurline.pipeline_architecture" in imports_of(path)}
    assert who == ENTRY_POINTS


def test_nothing_imports_the_entry_points() -> None:
    entry_points = {"blurline.cli.main", "blurline.entry", *OTHER_NAMES}
    entry_points |= {f"blurline.entry.{name}" for name in ENTRIES}
    for path in MODULES:
        assert not imports_of(path) & entry_points, path


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_a_file_at_the_top_is_another_name_of_one_in_the_package_and_no_more(name: str) -> None:
    [module] = imports_of(ROOT / f"{name}.py")
    assert module.startswith("blurline.")
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    assert {type(node) for node in tree.body} <= {ast.Expr, ast.ImportFrom, ast.Assign, ast.If}
