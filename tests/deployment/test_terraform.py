"""What `deploy/terraform` promises, as far as can be told without an account."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from blurline.queue.connection import connect
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage.objects import open_store
from blurline.storage.retention import DATA_KEYS, METADATA, ORIGINALS, RESULTS
from blurline.storage.vault import open_vault
from blurline.worker.cleaning import open_sweeper
from tests.overlays import K8S, Resource, Resources, render, rendered
from tests.parts import (
    ROOT,
    files_below,
    fresh,
    image_worker,
    job_spec,
    runner,
    settings_for,
    upload,
)

TERRAFORM = ROOT / "deploy/terraform"
VALUES: dict[str, Any] = {
    "registry": "999988887777.dkr.ecr.eu-west-1.amazonaws.com",
    "region": "eu-west-1",
    "bucket": "mine",
    "role_arns": {name: f"arn:aws:iam::999988887777:role/x-{name}" for name in ("api", "worker")},
    "originals": 30,
    "results": 0,
    "metadata": 0.5,
    "redis_url": "",
    "redis_host": None,
    "cidr": "10.20.0.0/16",
}
CACHE = {"redis_host": "queue.example.org", "redis_url": "rediss://queue.example.org:6379/0"}
CORES = {"2xlarge": 8}
"""Cores of an instance, by its size."""

TAKEN = 0.4
"""Cores of a node, at most, that are the kubelet's and those of what runs on every node."""


def asked(*arguments: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
    """What Terraform makes of it; the test is skipped where it is not installed."""
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        pytest.skip("neither terraform nor tofu is installed")
    return subprocess.run(
        [program, f"-chdir={arguments[0]}", *arguments[1:]],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )


def terraform(*arguments: str, given: str | None = None) -> str:
    """What Terraform says to what it has to take."""
    done = asked(*arguments, given=given)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def source(name: str) -> str:
    return (TERRAFORM / name).read_text()


def listed(text: str) -> list[str]:
    """The strings of a list in one line."""
    return re.findall(r'"([^"]*)"', text)


def writes() -> dict[str, set[str]]:
    """Folders that the role of each service may write to."""
    lines = re.findall(r"^\s+(api|worker) +=\s+\[(.*)\]$", source("roles.tf"), re.MULTILINE)
    return {name: set(listed(folders)) for name, folders in lines}


def written(store: Path) -> set[str]:
    """Folders of the store in which there is something."""
    return {path.relative_to(store).parts[0] for path in files_below(store)}


def group(variable: str) -> tuple[str, int]:
    """The size of a group's instances by default, and how many there are at most."""
    block = source("variables.tf").split(f'variable "{variable}"')[1]
    match = re.search(r'types = \["\w+\.(\w+)"\].*most = (\d+)', block)
    assert match is not None
    return match[1], int(match[2])


def scaled(name: str) -> Resource:
    """What scales the workload."""
    resources = render(K8S / "overlays/eks")
    found: Resource = (
        resources.get(("ScaledObject", name)) or resources["HorizontalPodAutoscaler", name]
    )
    return found


def cores(name: str, kind: str = "Deployment") -> float:
    """Cores that one pod of the workload asks for."""
    pod = render(K8S / "overlays/eks")[kind, name]["spec"]["template"]["spec"]
    wanted = [str(one["resources"]["requests"]["cpu"]) for one in pod["containers"]]
    return sum(float(one[:-1]) / 1000 if one.endswith("m") else float(one) for one in wanted)


@pytest.fixture
def mine(tmp_path: Path, request: pytest.FixtureRequest) -> Resources:
    """The overlay that Terraform would write, rendered; with the values that a test adds."""
    values = {**VALUES, **getattr(request, "param", {})}
    template = json.dumps(str(TERRAFORM / "overlay.yaml.tftpl"))
    call = f"base64encode(templatefile({template}, jsondecode({json.dumps(json.dumps(values))})))"
    encoded = json.loads(terraform(str(tmp_path), "console", given=call + "\n").splitlines()[-1])
    # A copy, since kubectl reads no base outside the folder that it is given.
    shutil.copytree(K8S, tmp_path / "k8s", ignore=shutil.ignore_patterns("node_modules"))
    folder = tmp_path / "k8s/overlays/mine"
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_bytes(base64.b64decode(encoded))
    return rendered(folder)


@pytest.mark.validator(name="terraform")
def test_terraform_files_are_in_the_one_form() -> None:
    terraform(str(TERRAFORM), "fmt", "-check", "-diff")


@pytest.mark.validator(name="terraform")
def test_terraforms_overlay_leaves_nothing_of_the_example_account(mine: Resources) -> None:
    text = json.dumps(list(mine.values()))
    assert "111122223333" not in text
    assert "eu-central-1" not in text
    assert "blurline-photos" not in text
    for name, arn in VALUES["role_arns"].items():
        annotations = mine["ServiceAccount", name]["metadata"]["annotations"]
        assert annotations == {"eks.amazonaws.com/role-arn": arn}
    given = mine["ConfigMap", "blurline"]["data"]
    settings = Settings(**{name.lower(): value for name, value in given.items()})
    assert (settings.s3_bucket, settings.aws_region) == ("mine", "eu-west-1")
    kept = settings.keep_originals_days, settings.keep_results_days, settings.keep_metadata_days
    assert kept == (30, 0, 0.5)
    assert set(mine) == set(render(K8S / "overlays/eks"))


@pytest.mark.validator(name="terraform")
@pytest.mark.parametrize("mine", [CACHE], indirect=True, ids=["elasticache"])
def test_with_elasticache_no_pod_of_redis_is_left_and_all_go_there(mine: Resources) -> None:
    assert "redis" not in {name for _, name in mine}
    assert "redis-0" not in json.dumps(list(mine.values()))
    assert mine["ConfigMap", "blurline"]["data"]["REDIS_URL"] == CACHE["redis_url"]
    for name in ("worker", "worker-gpu"):
        waiting = mine["ScaledObject", name]["spec"]["triggers"][0]
        assert waiting["type"] == "redis"
        assert waiting["metadata"]["address"] == "queue.example.org:6379"
        assert waiting["metadata"]["enableTLS"] == "true"
        assert "listLength" in waiting["metadata"]
    first = mine["NetworkPolicy", "outward"]["spec"]["egress"][0]
    assert first["to"] == [{"ipBlock": {"cidr": "10.20.0.0/16"}}]


def test_the_buckets_lifecycle_is_by_the_classes_of_the_sweeper() -> None:
    rules = dict(re.findall(r'"(\w+)/"\s*=\s*var\.keep_(\w+)_days', source("bucket.tf")))
    assert rules == {
        **dict.fromkeys((ORIGINALS, DATA_KEYS), "originals"),
        **dict.fromkeys(RESULTS, "results"),
        **dict.fromkeys(METADATA, "metadata"),
    }


def test_the_bucket_is_closed_encrypted_and_keeps_no_old_versions() -> None:
    text = source("bucket.tf")
    block = text.split('"aws_s3_bucket_public_access_block"')[1].split("\n}")[0]
    assert block.count("= true") == 4
    assert 'sse_algorithm     = "aws:kms"' in text
    assert 'status = "Disabled"' in text
    assert '"aws:SecureTransport"' in text


def test_the_bucket_refuses_to_write_a_line_of_the_trail_again() -> None:
    (statement,) = re.findall(r'sid += "TrailOnce"(.*?)\n  \}\n', source("bucket.tf"), re.DOTALL)
    assert 'effect    = "Deny"' in statement
    assert '["s3:PutObject"]' in statement
    assert "/audit/*" in statement
    assert re.search(r'"Null"\s+variable = "s3:if-none-match"\s+values += \["true"\]', statement)


def test_roles_are_for_the_accounts_of_the_manifest_and_nobody_touches_the_trail() -> None:
    accounts = re.findall(r"system:serviceaccount:blurline:(\w+)", source("roles.tf"))
    assert {("ServiceAccount", name) for name in accounts} <= set(render(K8S / "overlays/eks"))
    (removes,) = re.findall(r"removes = \[(.*)\]", source("roles.tf"))
    assert "audit" not in removes
    assert 's3:*"' not in source("roles.tf")


def test_the_apis_role_writes_where_the_api_writes_and_nowhere_else(
    idle_client: Callable[..., httpx.Client], tmp_path: Path, small_jpeg: bytes
) -> None:
    client = idle_client()
    job_id = upload(client, small_jpeg)
    files = [("files", (name, small_jpeg)) for name in ("a.jpg", "b.jpg")]
    assert client.post("/batch-upload", files=files, headers=fresh()).status_code == 202
    assert client.delete(f"/jobs/{job_id}").status_code == 200
    assert writes()["api"] == written(tmp_path / "store")


def test_the_workers_role_writes_where_workers_write_and_nowhere_else(
    redis_url: str, tmp_path: Path, small_jpeg: bytes
) -> None:
    settings = settings_for(redis_url, tmp_path, keep_originals_days=1e-9)
    store, spec = open_store(settings), job_spec(pipeline="test", targets=())
    open_vault(settings, store).put(spec.job_id, spec.kind, small_jpeg, spec.to_order())
    before = written(tmp_path / "store")
    Queues(connect(redis_url), settings, {}).submit([spec])
    with image_worker(settings, runner(settings)) as worker:
        worker.work(max_jobs=1, logging_level="WARNING")
    assert open_sweeper(settings, store).sweep().originals == 1
    assert writes()["worker"] == written(tmp_path / "store") - before


def test_the_gpu_workers_are_let_on_the_gpu_nodes_and_go_there() -> None:
    pod = render(K8S / "overlays/eks")["Deployment", "worker-gpu"]["spec"]["template"]["spec"]
    ((key, value),) = pod["nodeSelector"].items()
    assert f'labels = {{ "{key}" = "{value}" }}' in source("cluster.tf")
    ((taint, effect),) = re.findall(r'key = "([^"]+)", .*effect = "(\w+)"', source("cluster.tf"))
    assert effect == "NO_SCHEDULE"
    wanted = {"key": taint, "operator": "Exists", "effect": "NoSchedule"}
    assert pod["tolerations"] == [wanted]


def test_the_most_nodes_have_room_for_all_that_the_autoscalers_may_ask_for() -> None:
    size, most = group("nodes")
    room = CORES[size] - TAKEN
    workers_each = int(room // cores("worker"))
    workers = scaled("worker")["spec"]["maxReplicaCount"]
    nodes = -(-workers // workers_each)
    text = " ".join(source("README.md").split())
    assert f"{workers} workers of two cores want {nodes} nodes" in text
    others = scaled("api")["spec"]["maxReplicas"] * cores("api") + 3 * cores("redis", "StatefulSet")
    assert nodes <= most
    assert workers * cores("worker") + others <= most * room
    size, most = group("gpu_nodes")
    assert scaled("worker-gpu")["spec"]["maxReplicaCount"] <= most
    assert cores("worker-gpu") <= CORES[size] - TAKEN


@pytest.mark.validator(name="terraform")
@pytest.mark.parametrize(
    "wrong",
    [
        "name=Blurline",
        "name=a--b",
        "cidr=10.0.0.0/21",
        'zones=["a", "b"]',
        'zones=["eu-central-1a", "eu-central-1b", "eu-central-1c"]',
    ],
)
def test_values_that_aws_would_refuse_late_are_refused_before_anything_is_made(
    tmp_path: Path, wrong: str
) -> None:
    # The variables alone want no provider.
    shutil.copy(TERRAFORM / "variables.tf", tmp_path)
    plan = [str(tmp_path), "plan", "-input=false", "-no-color", "-var=bucket=mine"]
    terraform(*plan)
    refused = asked(*plan, f"-var={wrong}")
    assert refused.returncode != 0
    assert "Invalid value for variable" in refused.stderr


def test_images_have_a_place_each_in_the_registry() -> None:
    images = {
        one["image"].rpartition("/")[2].partition(":")[0]
        for (kind, _), resource in render(K8S / "overlays/eks").items()
        if kind == "Deployment"
        for one in resource["spec"]["template"]["spec"]["containers"]
    }
    (names,) = re.findall(r"toset\(\[(.*)\]\)", source("registry.tf"))
    assert {name.strip('" ') for name in names.split(",")} == images
