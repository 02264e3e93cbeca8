"""What the files beside the package promise: manifests, monitoring, load tests."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from rq import Queue

from blurline import __version__, metrics
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
    run_tool,
)
from tests.parts import ROOT

kubernetes_validate = pytest.importorskip("kubernetes_validate")

PROMETHEUS = ROOT / "monitoring/prometheus.yml"
ALERTS = ROOT / "monitoring/alerts.yml"
DASHBOARD = ROOT / "monitoring/grafana/dashboards/overview.json"
LOAD_TESTS = ROOT / "load-tests"

KEYS = ("MASTER_KEY_FILE", "SIGNING_KEY")
REDIS_FLAGS = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
SHARED_COUNTERS = {"blurline_images"}
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


def expressions() -> Iterator[str]:
    """Every PromQL expression of the alerts and of the dashboard."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def series() -> set[str]:
    """The name of every time series that the API and the workers offer."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    own = {
        metric.name + ending
        for metric in REGISTRY.collect()
        for ending in endings.get(metric.type, ())
        if metric.name.startswith("blurline_")
    }
    shared = {name + "_total" if name in SHARED_COUNTERS else name for name in set(metrics.SHARED)}
    return own | shared


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
    assert [PROMETHEUS.parent / name for name in config["rule_files"]] == [ALERTS]


def test_every_alert_says_how_bad_and_what_it_means() -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    for rule in group["rules"]:
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}


def test_alerts_and_dashboard_read_only_metrics_that_exist() -> None:
    used = {name for text in expressions() for name in re.findall(r"blurline_\w+", text)}
    assert used
    assert used <= series()


def test_dashboard_is_provisioned_with_its_data_source() -> None:
    provisioning = ROOT / "monitoring/grafana/provisioning"
    sources = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())
    providers = yaml.safe_load((provisioning / "dashboards/dashboards.yml").read_text())
    mounts = compose()["services"]["grafana"]["volumes"]
    folder = providers["providers"][0]["options"]["path"]
    assert f"./monitoring/grafana/dashboards:{folder}:ro" in mounts
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    known = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels} <= known


def test_prometheus_takes_its_configuration() -> None:
    run_tool("promtool", "check", "config", PROMETHEUS)


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"expression:{number}", "expr": text.replace("$__rate_interval", "1m")}
        for number, text in enumerate(expressions())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    run_tool("promtool", "check", "rules", path)


HEALTHY = {
    'up{job="blurline-api",instance="1"}': "1",
    'blurline_worker_processes{instance="1"}': "2",
    'blurline_queue_depth{instance="1"}': "700",
    'blurline_queue_oldest_age_seconds{instance="1"}': "60",
    'blurline_images_total{outcome="completed",instance="1"}': "0+600",
    'blurline_images_total{outcome="failed",instance="1"}': "0+6",
    'blurline_http_requests_total{status="202",instance="1"}': "0+600",
}
TROUBLES: dict[str, dict[str, str]] = {
    "": {},
    "BlurlineApiDown": {'up{job="blurline-api",instance="1"}': "0"},
    "BlurlineNoWorker": {'blurline_worker_processes{instance="1"}': "0"},
    "BlurlineQueueNearlyFull": {'blurline_queue_depth{instance="2"}': "801"},
    "BlurlineUploadsRefused": {'blurline_http_requests_total{status="429"}': "0+60"},
    "BlurlineOldestJobWaitsLong": {'blurline_queue_oldest_age_seconds{instance="2"}': "121"},
    "BlurlineJobsFail": {'blurline_images_total{outcome="failed",instance="1"}': "0+60"},
}


def test_each_trouble_raises_its_alert_and_no_other(tmp_path: Path) -> None:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == set(TROUBLES) - {""}
    tests = [
        {
            "interval": "1m",
            "input_series": [
                {"series": name, "values": f"{value if '+' in value else value + '+0'}x20"}
                for name, value in {**HEALTHY, **trouble}.items()
            ],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "15m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}]
                    if alert
                    else [],
                }
            ],
        }
        for alert, trouble in TROUBLES.items()
    ]
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": tests}))
    run_tool("promtool", "test", "rules", path)


# Load tests


def test_locust_file_has_a_user_and_makes_photos_of_its_own() -> None:
    # In a process of its own, because importing locust rewires the standard library for gevent.
    if importlib.util.find_spec("locust") is None:
        pytest.skip("locust is not installed")
    code = (
        "import io, locustfile; from PIL import Image; "
        "image = Image.open(io.BytesIO(locustfile.photo(1))); "
        "print(locustfile.Uploader.abstract, image.format, *image.size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LOAD_TESTS, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["False", "JPEG", "1280", "720"], done.stderr


def test_k6_reads_its_script(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8")
    run_tool("k6", "inspect", "-e", f"PHOTO={photo}", LOAD_TESTS / "load-test.js")
