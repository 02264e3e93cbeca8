"""What `kubernetes_deployment.yaml` and its overlays promise."""

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import PurePosixPath
from typing import Any

import httpx
import pytest
from rq import Queue

from blurline import __version__
from blurline.queue.connection import SENTINEL_PORT, connect
from blurline.settings import Settings, load_settings
from tests.deployment_files import CREDENTIALS, SETTINGS, image_environment, instructions
from tests.overlays import K8S, Resource, Resources, by_name, render, rendered
from tests.parts import ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate")

MANIFEST = ROOT / "kubernetes_deployment.yaml"
OVERLAYS = ("eks", "eks-istio", "gke", "local")
WORKERS = {
    "worker": "queue_name",
    "worker-gpu": "queue_name",
    "worker-transform": "transform_queue",
}
"""What takes jobs, and the setting that names its queue."""

PATIENCE = {"queue_name": "job_timeout", "transform_queue": "transform_timeout"}
TARGETS = ("api", *WORKERS)
KEYS = ("MASTER_KEY_FILE", "SIGNING_KEY")
CUSTOM = {"keda.sh", "monitoring.coreos.com", "security.istio.io"}
"""Groups whose resources Kubernetes' own schemas do not know."""


@cache
def resources() -> Resources:
    return by_name(MANIFEST.read_text())


def resource(kind: str, name: str) -> Resource:
    return resources()[kind, name]


def pods() -> dict[str, Resource]:
    """The pod template of every workload, by the workload's name."""
    return {
        name: one["spec"]["template"]
        for (kind, name), one in resources().items()
        if kind in {"Deployment", "StatefulSet"}
    }


def container(workload: str) -> Resource:
    found: Resource = pods()[workload]["spec"]["containers"][0]
    return found


def pod_environment(workload: str) -> dict[str, str]:
    given = {e["name"]: e["value"] for e in container(workload).get("env", []) if "value" in e}
    return {**resource("ConfigMap", "blurline")["data"], **given}


def behavior_down(name: str) -> Resource:
    advanced = resource("ScaledObject", name)["spec"]["advanced"]
    found: Resource = advanced["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    return found


# The one file and the overlays


def test_the_one_file_is_the_overlay_for_eks() -> None:
    assert resources() == render(K8S / "overlays/eks")
    header = (K8S / "overlays/eks/header.txt").read_text()
    assert MANIFEST.read_text().startswith(header)


@pytest.mark.validator(name="kubectl")
@pytest.mark.parametrize("overlay", ["eks", "eks-istio"])
def test_kubectl_renders_the_same(overlay: str) -> None:
    assert rendered(K8S / "overlays" / overlay) == render(K8S / "overlays" / overlay)


@pytest.mark.validator(name="kubectl")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_valid_by_the_schemas_of_kubernetes(overlay: str) -> None:
    version = kubernetes_validate.latest_version()
    for key, one in rendered(K8S / "overlays" / overlay).items():
        if one["apiVersion"].split("/")[0] not in CUSTOM:
            kubernetes_validate.validate(one, version, strict=True)
        assert one["metadata"].get("namespace", "blurline") == "blurline", key


@pytest.mark.validator(name="kubernetes-validate")
@pytest.mark.parametrize(
    "manifest",
    [r for r in resources().values() if r["apiVersion"].split("/")[0] not in CUSTOM],
    ids=lambda r: f"{r['kind']}-{r['metadata']['name']}",
)
def test_manifest_is_valid_by_the_schemas_of_kubernetes(manifest: Resource) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.validator(name="models")
@pytest.mark.parametrize(("overlay", "least"), [("eks-istio", 6), ("gke", 4)])
def test_custom_resources_are_valid_by_the_models_of_keda_istio_and_prometheus(
    overlay: str, least: int
) -> None:
    node = shutil.which("node")
    if node is None or not (K8S / "node_modules").is_dir():
        pytest.skip("the models are not there: make validators")
    custom = [
        one
        for one in rendered(K8S / "overlays" / overlay).values()
        if one["apiVersion"].split("/")[0] in CUSTOM
    ]
    done = subprocess.run(
        [node, "validate.mjs"],
        cwd=K8S,
        input=json.dumps(custom),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("is valid") == len(custom) >= least


@pytest.mark.validator(name="kubectl")
def test_the_local_overlay_needs_nothing_that_a_bare_cluster_lacks() -> None:
    local = rendered(K8S / "overlays/local")
    assert not [one for one in local.values() if one["apiVersion"].split("/")[0] in CUSTOM]
    values = local["ConfigMap", "blurline"]["data"]
    assert "S3_BUCKET" not in values
    settings = Settings(**{name.lower(): value for name, value in values.items()})
    for name in ("api", "worker"):
        (one,) = local["Deployment", name]["spec"]["template"]["spec"]["containers"]
        mounts = {mount["mountPath"] for mount in one["volumeMounts"]}
        assert {str(settings.data_dir), "/tmp", "/keys"} <= mounts  # noqa: S108
    assert "min-replicas-to-write" not in local["ConfigMap", "redis"]["data"]["redis.conf"]


# Environment


@pytest.mark.parametrize("target", TARGETS)
def test_every_environment_name_and_value_is_one_of_a_setting(target: str) -> None:
    given = pod_environment(target)
    assert set(given) <= SETTINGS
    image = image_environment(target.partition("-")[0])
    values = {**{n: v for n, v in image.items() if n in SETTINGS}, **given}
    settings = Settings(**{name.lower(): value for name, value in values.items()})
    assert settings.s3_bucket
    connect(settings.redis_url or "").close()


def test_manifest_holds_no_secret() -> None:
    assert "Secret" not in {kind for kind, _ in resources()}
    for target in TARGETS:
        assert not CREDENTIALS & set(pod_environment(target))


# Pods


@pytest.mark.parametrize("workload", pods())
def test_pods_may_do_no_more_than_they_must(workload: str) -> None:
    pod = pods()[workload]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for one in pod["containers"]:
        assert [mount["mountPath"] for mount in one["volumeMounts"]][-1] == "/tmp"  # noqa: S108
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(one["resources"]["requests"])
        assert "memory" in one["resources"]["limits"]
        assert {"readinessProbe", "livenessProbe"} <= set(one)


@pytest.mark.parametrize("target", TARGETS)
def test_pods_run_the_images_of_this_version(target: str) -> None:
    assert container(target)["image"].endswith(
        f"/blurline-{target.removesuffix('-transform')}:{__version__}"
    )
    assert "command" not in container(target)
    (port,) = container(target)["ports"]
    assert instructions(target.partition("-")[0], "EXPOSE") == [str(port["containerPort"])]


@pytest.mark.parametrize("target", TARGETS)
def test_the_keys_that_all_processes_share_are_files_from_outside(target: str) -> None:
    pod = pods()[target]["spec"]
    mounts = {mount["mountPath"]: mount for mount in container(target)["volumeMounts"]}
    folders = {str(PurePosixPath(pod_environment(target)[name]).parent) for name in KEYS}
    (mount,) = (mounts[folder] for folder in folders)
    assert mount["readOnly"] is True
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "blurline-keys"
    assert not volume["secret"]["defaultMode"] & 0o007
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]


def test_the_api_asks_who_calls_and_only_the_api_knows_the_keys() -> None:
    place = PurePosixPath(pod_environment("api")["API_KEYS_FILE"])
    assert "API_KEYS_FILE" not in pod_environment("worker")
    mounts = {mount["mountPath"]: mount for mount in container("api")["volumeMounts"]}
    mount = mounts[str(place.parent)]
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # else a key that is withdrawn would stay until a restart
    (volume,) = (v for v in pods()["api"]["spec"]["volumes"] if v["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "blurline-access"
    # KEDA and Prometheus bring no key.
    assert pod_environment("api")["OPEN_METRICS"] == "true"
    assert "ACCESS" not in pod_environment("api")


def queue_of(worker: str) -> str:
    """The queue of a workload, by the default of its setting."""
    name: str = Settings.model_fields[WORKERS[worker]].default
    return name


def longest_job(worker: str) -> int:
    """Seconds that a job of its queue may take."""
    seconds: int = Settings.model_fields[PATIENCE[WORKERS[worker]]].default
    return seconds


@pytest.mark.parametrize("workload", WORKERS)
def test_a_worker_serves_one_queue(workload: str) -> None:
    served = load_settings(worker_queues=pod_environment(workload)["WORKER_QUEUES"]).served
    assert list(served) == [queue_of(workload)]


def test_what_looks_after_the_queues_takes_no_job_and_is_there_without_workers() -> None:
    assert container("upkeep")["command"] == ["python", "-m", "blurline.entry.upkeep"]
    assert resource("Deployment", "upkeep")["spec"]["replicas"] == 1


@pytest.mark.parametrize("workload", WORKERS)
def test_a_worker_that_stops_has_time_for_its_longest_job(workload: str) -> None:
    job_timeout = longest_job(workload)
    assert pods()[workload]["spec"]["terminationGracePeriodSeconds"] > job_timeout


def test_an_api_that_stops_still_answers_those_who_have_not_heard_of_it() -> None:
    wait = container("api")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < wait < pods()["api"]["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("workload", pods())
def test_disruptions_leave_some_of_each(workload: str) -> None:
    budget = resource("PodDisruptionBudget", workload)["spec"]
    labels = pods()[workload]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()


# Accounts


def test_each_service_has_an_account_of_its_own_and_no_account_a_right_in_the_cluster() -> None:
    accounts = {name for kind, name in resources() if kind == "ServiceAccount"}
    assert accounts == {"api", "worker", "redis"}
    for name, pod in pods().items():
        account = "worker" if name in (*WORKERS, "upkeep") else name
        assert pod["spec"]["serviceAccountName"] == account
    bound = [one for (kind, _), one in resources().items() if kind.endswith("RoleBinding")]
    assert not [s for one in bound for s in one["subjects"] if s["kind"] == "ServiceAccount"]


def test_operators_see_everything_but_secrets_and_change_nothing() -> None:
    for rule in resource("Role", "operator")["rules"]:
        assert set(rule["verbs"]) <= {"get", "list", "watch"}
        assert not {"secrets", "*"} & set(rule["resources"])


# The network


def selected(policy: Resource) -> set[str]:
    """The workloads that a network policy is about."""
    wanted = policy["spec"]["podSelector"]
    found = set()
    for name, pod in pods().items():
        labels = pod["metadata"]["labels"]
        if not wanted.get("matchLabels", {}).items() <= labels.items():
            continue
        if all(labels.get(e["key"]) in e["values"] for e in wanted.get("matchExpressions", ())):
            found.add(name)
    return found


def test_what_no_policy_allows_is_refused() -> None:
    spec = resource("NetworkPolicy", "default-deny")["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_policies_select_the_pods_that_they_are_for() -> None:
    policies = [name for kind, name in resources() if kind == "NetworkPolicy"]
    assert {name: selected(resource("NetworkPolicy", name)) for name in policies} == {
        "default-deny": set(pods()),
        "names": set(pods()),
        "redis": {"redis"},
        "api": {"api"},
        "worker": {*WORKERS, "upkeep"},
        "outward": {"api", *WORKERS, "upkeep"},
    }


def test_redis_is_reached_by_the_service_and_keda_alone() -> None:
    (rule,) = resource("NetworkPolicy", "redis")["spec"]["ingress"]
    ours, keda = rule["from"]
    for pod in pods().values():
        assert ours["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert keda == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}
    assert {port["port"] for port in rule["ports"]} == {6379, SENTINEL_PORT}


def test_nobody_reaches_the_metadata_of_the_nodes() -> None:
    blocks = [
        peer["ipBlock"]
        for rule in resource("NetworkPolicy", "outward")["spec"]["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert blocks
    for block in blocks:
        assert {"169.254.0.0/16", "fd00:ec2::/32"} & set(block["except"])


def test_the_metrics_of_workers_are_served_where_prometheus_comes_in() -> None:
    environment = {entry["name"]: entry.get("value") for entry in container("worker")["env"]}
    assert environment["WORKER_METRICS_HOST"] == "0.0.0.0"  # noqa: S104


def test_services_and_monitors_select_pods() -> None:
    labels = {name: pod["metadata"]["labels"] for name, pod in pods().items()}
    services = {name: one for (kind, name), one in resources().items() if kind == "Service"}
    assert set(services) == set(pods())
    for name, service in services.items():
        assert service["spec"]["selector"].items() <= labels[name].items()
        ports = {p["name"] for c in pods()[name]["spec"]["containers"] for p in c["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind, name in resources():
        if kind == "ServiceMonitor":
            spec = resource(kind, name)["spec"]
            found = [
                s
                for s in services.values()
                if spec["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()
            ]
            assert found
            for service in found:
                assert spec["endpoints"][0]["port"] in {p["name"] for p in service["spec"]["ports"]}


def test_monitors_name_the_jobs_that_the_alerts_know() -> None:
    monitors = [one for (kind, _), one in resources().items() if kind == "ServiceMonitor"]
    named = {one["spec"]["endpoints"][0]["relabelings"][0]["replacement"] for one in monitors}
    rules = "".join(path.read_text() for path in (ROOT / "monitoring/rules").iterdir())
    assert named == {"blurline-api", "blurline-worker"}
    assert set(re.findall(r'job="([\w-]+)"', rules)) <= named


# Autoscalers


def test_autoscalers_alone_set_the_number_of_pods() -> None:
    for name in TARGETS:
        assert "replicas" not in resource("Deployment", name)["spec"]
    targets = [
        one["spec"]["scaleTargetRef"]["name"]
        for (kind, _), one in resources().items()
        if kind in {"HorizontalPodAutoscaler", "ScaledObject"}
    ]
    assert sorted(targets) == sorted(TARGETS)


def test_apis_and_workers_are_as_many_as_was_decided() -> None:
    autoscaler = resource("HorizontalPodAutoscaler", "api")["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (3, 10)
    scaled = resource("ScaledObject", "worker")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (5, 20)
    gpu = resource("ScaledObject", "worker-gpu")
    assert gpu["metadata"]["annotations"] == {"autoscaling.keda.sh/paused-replicas": "0"}


@pytest.mark.parametrize("name", WORKERS)
def test_workers_are_scaled_by_their_queue_before_it_is_full(name: str) -> None:
    scaled = resource("ScaledObject", name)["spec"]
    trigger = next(t for t in scaled["triggers"] if t["type"] == "redis-sentinel")["metadata"]
    assert trigger["listName"] == Queue.redis_queue_namespace_prefix + queue_of(name)
    most = scaled["maxReplicaCount"] * int(trigger["listLength"])
    assert most < int(pod_environment("api")["MAX_QUEUE_SIZE"])
    url = pod_environment("api")["REDIS_URL"]
    hosts, service = re.fullmatch(r"redis\+sentinel://(.*)/(\w+)", url).groups()  # type: ignore[union-attr]
    assert trigger["addresses"].split(",") == [f"{h}:{SENTINEL_PORT}" for h in hosts.split(",")]
    assert trigger["sentinelMaster"] == service


@pytest.mark.parametrize("name", ["worker", "worker-transform"])
def test_running_jobs_keep_workers_and_the_metric_is_one_that_the_api_has(
    idle_client: Any, name: str
) -> None:
    triggers = resource("ScaledObject", name)["spec"]["triggers"]
    (running,) = (t["metadata"] for t in triggers if t["type"] == "metrics-api")
    assert running["url"] == "http://api.blurline.svc/metrics"
    answer: httpx.Response = idle_client().get("/metrics")
    # KEDA's parser wants the last line to be ended too.
    assert f"\n{running['valueLocation']} 0.0\n" in answer.text
    assert answer.text.endswith("\n")
    environment = pod_environment(name)
    told = load_settings(worker_queues=environment["WORKER_QUEUES"]).served[queue_of(name)]
    threads = told or int(environment["WORKER_THREADS"])
    # At the number of threads, workers that are all busy would be just enough.
    assert 0 < float(running["targetValue"]) < threads


@pytest.mark.parametrize("name", WORKERS)
def test_workers_are_removed_only_after_a_calm_longer_than_any_job(name: str) -> None:
    job_timeout = longest_job(name)
    assert behavior_down(name)["stabilizationWindowSeconds"] > job_timeout
    assert resource("ScaledObject", name)["spec"]["cooldownPeriod"] > job_timeout


# Redis


def test_redis_never_drops_a_job_and_brings_the_queue_back() -> None:
    lines = (line.split() for line in (K8S / "base/redis/redis.conf").read_text().splitlines())
    flags = {line[0]: line[1] for line in lines if line and line[0] != "#"}
    assert flags["maxmemory-policy"] == "noeviction"
    assert (flags["appendonly"], flags["appendfsync"]) == ("yes", "everysec")
    # Else a primary that was cut off would take jobs that nobody else ever hears of.
    assert int(flags["min-replicas-to-write"]) >= 1
    shares = resource("StatefulSet", "redis")["spec"]
    assert shares["replicas"] == 3
    limit = shares["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    assert (flags["maxmemory"], limit) == ("512mb", "1Gi")


def test_every_redis_knows_its_peers_as_the_settings_do() -> None:
    for one in pods()["redis"]["spec"]["containers"]:
        values = {entry["name"]: entry.get("value") for entry in one["env"]}
        peers = values["PEERS"].split()
        assert pod_environment("api")["REDIS_URL"] == f"redis+sentinel://{','.join(peers)}/blurline"
        assert values["SELF"].replace("$(POD)", "redis-0") == peers[0]
        assert len(peers) == resource("StatefulSet", "redis")["spec"]["replicas"]
