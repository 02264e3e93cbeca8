"""What the files beside the package promise: manifests, monitoring, load tests."""

from functools import cache
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from rq import Queue

from blurline import __version__
from blurline.settings import Settings
from tests.deployment_files import (
    CREDENTIALS,
    SETTINGS,
    TARGETS,
    VARIABLE,
    compose,
    compose_environment,
    image_environment,
    instructions,
)
from tests.parts import ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate")

PROMETHEUS = ROOT / "monitoring/prometheus.yml"

KEYS = ("MASTER_KEY_FILE", "SIGNING_KEY")
REDIS_FLAGS = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
CUSTOM_KINDS = {"ScaledObject"}


# What the files hold


@cache
def resources() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "kubernetes_deployment.yaml").read_text()))


def resource(kind: str, name: str) -> dict[str, Any]:
    return next(r for r in resources() if r["kind"] == kind and r["metadata"]["name"] == name)


def pods() -> dict[str, dict[str, Any]]:
    """The pod template of every workload, by the workload's name."""
    kinds = ("Deployment", "StatefulSet")
    return {r["metadata"]["name"]: r["spec"]["template"] for r in resources() if r["kind"] in kinds}


def container(workload: str) -> dict[str, Any]:
    found: dict[str, Any] = pods()[workload]["spec"]["containers"][0]
    return found


def pod_environment(workload: str) -> dict[str, str]:
    given = {entry["name"]: entry["value"] for entry in container(workload).get("env", [])}
    return {**resource("ConfigMap", "blurline")["data"], **given}


# Environment


@pytest.mark.parametrize("target", TARGETS)
def test_every_environment_name_is_a_setting(target: str) -> None:
    assert set(pod_environment(target)) <= SETTINGS


@pytest.mark.parametrize("target", TARGETS)
def test_every_environment_value_is_one_that_its_setting_takes(target: str) -> None:
    values = {**image_environment(target), **pod_environment(target)}
    settings = Settings(**{n.lower(): v for n, v in values.items() if n in SETTINGS})
    assert settings.redis_url
    assert settings.s3_bucket


# Promises that compose and Kubernetes share


def test_redis_never_drops_a_job_and_brings_the_queue_back() -> None:
    for command in (compose()["services"]["redis"]["command"], container("redis")["command"]):
        assert command[0] == "redis-server"
        flags = dict(zip(command[1::2], command[2::2], strict=True))
        assert REDIS_FLAGS.items() <= {name[2:]: value for name, value in flags.items()}.items()


def test_a_worker_that_stops_has_time_for_its_longest_job() -> None:
    job_timeout = Settings.model_fields["job_timeout"].default
    assert compose()["services"]["worker"]["stop_grace_period"] == "90s"
    assert pods()["worker"]["spec"]["terminationGracePeriodSeconds"] == 90 > job_timeout


@pytest.mark.parametrize("target", TARGETS)
def test_the_keys_that_all_processes_share_are_files_from_outside(target: str) -> None:
    service, pod = compose()["services"][target], pods()[target]["spec"]
    for name in KEYS:
        place = PurePosixPath(compose_environment(target)[name])
        assert place.parent == PurePosixPath("/run/secrets")
        assert place.name in service["secrets"]
        match = VARIABLE.fullmatch(compose()["secrets"][place.name]["file"])
        assert match, name
        assert match["kind"] == "?", name
    mounts = {mount["mountPath"]: mount for mount in container(target)["volumeMounts"]}
    folders = {str(PurePosixPath(pod_environment(target)[name]).parent) for name in KEYS}
    (mount,) = (mounts[folder] for folder in folders)
    assert mount["readOnly"] is True
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "blurline-keys"
    assert not volume["secret"]["defaultMode"] & 0o007
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]


def test_the_api_asks_who_calls_and_only_the_api_knows_the_keys() -> None:
    assert image_environment("api")["HOST"] == "0.0.0.0"  # noqa: S104
    place = PurePosixPath(compose_environment("api")["API_KEYS_FILE"])
    assert place.parent == PurePosixPath("/run/secrets")
    assert place.name in compose()["services"]["api"]["secrets"]
    assert place.name not in compose()["services"]["worker"]["secrets"]
    match = VARIABLE.fullmatch(compose()["secrets"][place.name]["file"])
    assert match
    assert match["kind"] == "?"
    place = PurePosixPath(pod_environment("api")["API_KEYS_FILE"])
    assert "API_KEYS_FILE" not in pod_environment("worker")
    mounts = {mount["mountPath"]: mount for mount in container("api")["volumeMounts"]}
    mount = mounts[str(place.parent)]
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # else a key that is withdrawn would stay until a restart
    (volume,) = (v for v in pods()["api"]["spec"]["volumes"] if v["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "blurline-access"
    for environment in (compose_environment("api"), pod_environment("api")):
        # Prometheus brings no key.
        assert environment["OPEN_METRICS"] == "true"
        assert "ACCESS" not in environment


# Kubernetes


@pytest.mark.parametrize(
    "manifest",
    [r for r in resources() if r["kind"] not in CUSTOM_KINDS],
    ids=lambda r: f"{r['kind']}-{r['metadata']['name']}",
)
def test_manifest_is_valid_by_the_schemas_of_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_manifest_holds_no_secret() -> None:
    assert "Secret" not in {r["kind"] for r in resources()}
    for target in TARGETS:
        assert not CREDENTIALS & set(pod_environment(target))


@pytest.mark.parametrize("workload", pods())
def test_pods_may_do_no_more_than_they_must(workload: str) -> None:
    pod = pods()[workload]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert [mount["mountPath"] for mount in container(workload)["volumeMounts"]][-1] == "/tmp"  # noqa: S108
    assert container(workload)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container(workload)["resources"]["requests"])
    assert "memory" in container(workload)["resources"]["limits"]


@pytest.mark.parametrize("target", TARGETS)
def test_pods_run_the_images_of_this_version(target: str) -> None:
    assert container(target)["image"] == f"blurline-{target}:{__version__}"
    assert "command" not in container(target)
    (port,) = container(target)["ports"]
    assert instructions(target, "EXPOSE") == [str(port["containerPort"])]


def test_services_and_network_policies_select_pods() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods().items()}
    for name in ("redis", "api"):
        assert resource("Service", name)["spec"]["selector"].items() <= labels[name].items()
    policy = resource("NetworkPolicy", "redis")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels["redis"].items()
    allowed = policy["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert all(allowed.items() <= labels[target].items() for target in TARGETS)


@pytest.mark.parametrize(
    ("kind", "name"), [("HorizontalPodAutoscaler", "api"), ("ScaledObject", "worker")]
)
def test_autoscalers_alone_set_the_number_of_pods(kind: str, name: str) -> None:
    target = resource(kind, name)["spec"]["scaleTargetRef"]["name"]
    assert "replicas" not in resource("Deployment", target)["spec"]


def test_workers_are_scaled_by_the_queue_before_it_is_full() -> None:
    scaled = resource("ScaledObject", "worker")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (5, 20)
    (trigger,) = scaled["triggers"]
    queue = Settings.model_fields["queue_name"].default
    assert trigger["metadata"]["listName"] == Queue.redis_queue_namespace_prefix + queue
    assert trigger["metadata"]["address"] == "redis.blurline.svc:6379"
    most = scaled["maxReplicaCount"] * int(trigger["metadata"]["listLength"])
    assert most < int(pod_environment("api")["MAX_QUEUE_SIZE"])


def test_workers_are_removed_only_after_a_calm_longer_than_any_job() -> None:
    scaled = resource("ScaledObject", "worker")["spec"]
    behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    job_timeout = Settings.model_fields["job_timeout"].default
    assert behavior["stabilizationWindowSeconds"] > job_timeout
    assert scaled["cooldownPeriod"] > job_timeout


# Monitoring


def test_prometheus_scrapes_the_ports_that_are_served() -> None:
    config = yaml.safe_load(PROMETHEUS.read_text())
    scraped = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    for target in TARGETS:
        port = instructions(target, "EXPOSE")[0]
        assert scraped[f"blurline-{target}"]["names"] == [target]
        assert scraped[f"blurline-{target}"]["port"] == int(port)
        assert pods()[target]["metadata"]["annotations"]["prometheus.io/port"] == port
        assert "monitoring" in compose()["services"][target]["networks"]
    assert image_environment("worker")["WORKER_METRICS_PORT"] == instructions("worker", "EXPOSE")[0]
