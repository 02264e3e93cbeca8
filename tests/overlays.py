"""Kustomize's overlays, rendered here as far as ours go, and by kubectl where it is installed.

The renderer knows resources, components, files for ConfigMaps, names of images and patches that are
merged, and refuses everything else, so that it can't be wrong in silence.
"""

import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.parts import ROOT

Resource = dict[str, Any]
Resources = dict[tuple[str, str], Resource]

K8S = ROOT / "deploy/k8s"
PARTS = {"apiVersion", "kind", "resources", "components", "configMapGenerator", "images", "patches"}


def rendered(folder: Path) -> Resources:
    """What kubectl makes of an overlay; the test is skipped without kubectl."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return by_name(done.stdout)


def by_name(text: str) -> Resources:
    """Resources by kind and name; none may be there twice."""
    found: Resources = {}
    for one in yaml.safe_load_all(text):
        key = (one["kind"], one["metadata"]["name"])
        assert key not in found, key
        found[key] = one
    return found


def render(folder: Path, given: Resources | None = None) -> Resources:
    """What an overlay is, or a component on top of `given`."""
    plan = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(plan) <= PARTS, set(plan) - PARTS
    found: Resources = dict(given or {})
    for name in plan.get("resources", ()):
        place = (folder / name).resolve()
        new = render(place) if place.is_dir() else by_name(place.read_text())
        assert not set(found) & set(new)
        found |= new
    for name in plan.get("components", ()):
        found = render((folder / name).resolve(), found)
    for one in plan.get("configMapGenerator", ()):
        assert set(one) == {"name", "namespace", "files", "options"}
        assert one["options"] == {"disableNameSuffixHash": True}
        files = [folder / name for name in one["files"]]
        found["ConfigMap", one["name"]] = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": one["name"], "namespace": one["namespace"]},
            "data": {file.name: file.read_text() for file in files},
        }
    for patch in plan.get("patches", ()):
        assert set(patch) == {"path"}
        for key, change in by_name((folder / patch["path"]).read_text()).items():
            found[key] = merged(found[key], change)
    names = {one["name"]: one["newName"] for one in plan.get("images", ())}
    return {key: renamed(one, names) for key, one in found.items()}


def merged(old: Any, change: Any) -> Any:
    """A merge of maps, where a null takes its key away. Lists are left alone."""
    assert not isinstance(change, list)
    if not (isinstance(change, dict) and isinstance(old, dict)):
        return change
    new = {key: merged(old.get(key), value) for key, value in change.items() if value is not None}
    return {key: value for key, value in old.items() if key not in change} | new


def renamed(resource: Resource, names: dict[str, str]) -> Resource:
    """The resource with the names of its images replaced."""
    copy = deepcopy(resource)
    pod = copy.get("spec", {}).get("template", {}).get("spec", {})
    for one in pod.get("containers", ()):
        image, _, tag = one["image"].partition(":")
        one["image"] = f"{names.get(image, image)}:{tag}"
    return copy
