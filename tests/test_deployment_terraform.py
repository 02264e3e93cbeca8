"""What `deploy/terraform` promises, as far as can be told without an account."""

import base64
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from blurline.settings import Settings
from blurline.storage.retention import DATA_KEYS, METADATA, ORIGINALS, RESULTS
from tests.overlays import K8S, Resources, render, rendered
from tests.parts import ROOT

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


def terraform(*arguments: str, given: str | None = None) -> str:
    """What Terraform says; the test is skipped where it is not installed."""
    program = shutil.which("terraform") or shutil.which("tofu")
    if program is None:
        pytest.skip("neither terraform nor tofu is installed")
    done = subprocess.run(
        [program, f"-chdir={arguments[0]}", *arguments[1:]],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def source(name: str) -> str:
    return (TERRAFORM / name).read_text()


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


def test_roles_are_for_the_accounts_of_the_manifest_and_nobody_touches_the_trail() -> None:
    accounts = re.findall(r"system:serviceaccount:blurline:(\w+)", source("roles.tf"))
    assert {("ServiceAccount", name) for name in accounts} <= set(render(K8S / "overlays/eks"))
    (removes,) = re.findall(r"removes = \[(.*)\]", source("roles.tf"))
    assert "audit" not in removes
    assert 's3:*"' not in source("roles.tf")
    # Only originals' senders write originals, only workers write results.
    writes = dict(re.findall(r"^\s+(api|worker) +=\s+\[(.*)\]$", source("roles.tf"), re.MULTILINE))
    assert "processed" not in writes["api"]
    assert "original" not in writes["worker"]


def test_images_have_a_place_each_in_the_registry() -> None:
    images = {
        one["image"].rpartition("/")[2].partition(":")[0]
        for (kind, _), resource in render(K8S / "overlays/eks").items()
        if kind == "Deployment"
        for one in resource["spec"]["template"]["spec"]["containers"]
    }
    (names,) = re.findall(r"toset\(\[(.*)\]\)", source("registry.tf"))
    assert {name.strip('" ') for name in names.split(",")} == images
