"""What the files beside the package promise: images, compose, monitoring, load tests."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from blurline import __version__, metrics
from blurline.settings import Settings
from tests.images import DOCKERFILE, image_environment, instructions, stages
from tests.parts import ROOT

PROMETHEUS = ROOT / "monitoring/prometheus.yml"
ALERTS = ROOT / "monitoring/alerts.yml"
DASHBOARD = ROOT / "monitoring/grafana/dashboards/overview.json"
LOAD_TESTS = ROOT / "load-tests"

TARGETS = ("api", "worker")
KEYS = ("MASTER_KEY_FILE", "SIGNING_KEY")
CREDENTIALS = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
SETTINGS = {name.upper() for name in Settings.model_fields}
REDIS_FLAGS = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
SHARED_COUNTERS = {"blurline_images"}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")


# What the files hold


@cache
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def with_defaults(value: str) -> str:
    """The value that compose gives where none of its variables is set."""
    return VARIABLE.sub(lambda match: match["text"] if match["kind"] == "-" else "x", value)


def compose_environment(service: str) -> dict[str, str]:
    environment = compose()["services"][service]["environment"]
    return {name: with_defaults(value) for name, value in environment.items()}


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


def run_tool(name: str, *arguments: str | Path) -> None:
    """Runs a checker that may not be installed; its complaints fail the test."""
    tool = shutil.which(name)
    if tool is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


# Images


@pytest.mark.parametrize("target", TARGETS)
def test_images_run_a_module_of_this_project_as_an_ordinary_user(target: str) -> None:
    assert instructions(target, "USER")[-1] == "10001:10001"
    command = json.loads(instructions(target, "CMD")[-1])
    module = command[1].removesuffix(":app") if command[0] == "uvicorn" else command[-1]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert module in project["tool"]["setuptools"]["py-modules"]
    assert (ROOT / f"{module}.py").is_file()


def test_image_build_sees_the_package_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {f"{name}.py" for name in project["tool"]["setuptools"]["py-modules"]}
    needed |= {"blurline", "constraints.txt", "pyproject.toml", project["project"]["readme"]}
    needed |= set(project["project"]["license-files"])
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == needed


def test_images_hold_the_weights_only_where_networks_run() -> None:
    assert not [rest for rest in instructions("api", "COPY") if "models" in rest]
    folder = image_environment("worker")["MODEL_DIR"]
    assert f"--from=models {folder} {folder}" in instructions("worker", "COPY")
    assert f"MODEL_DIR={folder} blurline models pull" in instructions("models", "RUN")


def test_dockerfile_passes_hadolint() -> None:
    run_tool("hadolint", DOCKERFILE)


# Environment


@pytest.mark.parametrize("target", TARGETS)
def test_every_environment_name_is_a_setting(target: str) -> None:
    of_image = {name for name in image_environment(target) if not name.startswith("PYTHON")}
    assert of_image - {"PATH"} <= SETTINGS
    assert set(compose_environment(target)) <= SETTINGS | CREDENTIALS


@pytest.mark.parametrize("target", TARGETS)
def test_every_environment_value_is_one_that_its_setting_takes(target: str) -> None:
    values = {**image_environment(target), **compose_environment(target)}
    settings = Settings(**{n.lower(): v for n, v in values.items() if n in SETTINGS})
    assert settings.redis_url
    assert settings.s3_bucket


# Compose


@pytest.mark.parametrize("target", TARGETS)
def test_compose_builds_the_images_of_this_version(target: str) -> None:
    service = compose()["services"][target]
    assert service["build"] == {"context": ".", "target": target}
    assert target in stages()
    assert service["image"] == f"blurline-{target}:{__version__}"


def test_compose_has_every_secret_from_outside() -> None:
    secret = re.compile(r"PASSWORD|SECRET|ACCESS_KEY")
    values = {
        f"{name}.{key}": value
        for name, service in compose()["services"].items()
        for key, value in service.get("environment", {}).items()
        if secret.search(key)
    }
    assert len(values) >= 5
    for place, value in values.items():
        match = VARIABLE.fullmatch(value)
        assert match, place
        assert match["kind"] == "?", place


def test_env_example_names_every_variable_and_holds_no_secret() -> None:
    found = VARIABLE.finditer((ROOT / "docker-compose.yml").read_text())
    used = {match["name"]: match["kind"] for match in found}
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(example) == set(used)
    assert {name for name, value in example.items() if not value} == {
        name for name, kind in used.items() if kind == "?"
    }


def test_compose_mounts_and_networks_exist() -> None:
    for service in compose()["services"].values():
        assert set(service["networks"]) <= set(compose()["networks"])
        assert set(service.get("depends_on", ())) <= set(compose()["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            known = (ROOT / source).exists() if "/" in source else source in compose()["volumes"]
            assert known, volume


def test_compose_bucket_is_made_by_its_s3_server() -> None:
    bucket = compose_environment("api")["S3_BUCKET"]
    assert f"-bucket={bucket}" in compose()["services"]["s3"]["command"]


def test_compose_opens_no_port_to_other_machines() -> None:
    for service in compose()["services"].values():
        for port in service.get("ports", ()):
            assert with_defaults(port).startswith("127.0.0.1:")


def test_redis_never_drops_a_job_and_brings_the_queue_back() -> None:
    command = compose()["services"]["redis"]["command"]
    assert command[0] == "redis-server"
    flags = dict(zip(command[1::2], command[2::2], strict=True))
    assert REDIS_FLAGS.items() <= {name[2:]: value for name, value in flags.items()}.items()


def test_a_worker_that_stops_has_time_for_its_longest_job() -> None:
    grace = compose()["services"]["worker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > Settings.model_fields["job_timeout"].default


@pytest.mark.parametrize("target", TARGETS)
def test_the_keys_that_all_processes_share_are_files_from_outside(target: str) -> None:
    service = compose()["services"][target]
    for name in KEYS:
        place = PurePosixPath(compose_environment(target)[name])
        assert place.parent == PurePosixPath("/run/secrets")
        assert place.name in service["secrets"]
        match = VARIABLE.fullmatch(compose()["secrets"][place.name]["file"])
        assert match, name
        assert match["kind"] == "?", name


def test_the_api_asks_who_calls_and_only_the_api_knows_the_keys() -> None:
    assert image_environment("api")["HOST"] == "0.0.0.0"  # noqa: S104
    place = PurePosixPath(compose_environment("api")["API_KEYS_FILE"])
    assert place.parent == PurePosixPath("/run/secrets")
    assert place.name in compose()["services"]["api"]["secrets"]
    assert place.name not in compose()["services"]["worker"]["secrets"]
    match = VARIABLE.fullmatch(compose()["secrets"][place.name]["file"])
    assert match
    assert match["kind"] == "?"
    # Prometheus brings no key.
    assert compose_environment("api")["OPEN_METRICS"] == "true"
    assert "ACCESS" not in compose_environment("api")


# Monitoring


def test_prometheus_scrapes_the_ports_that_are_served() -> None:
    config = yaml.safe_load(PROMETHEUS.read_text())
    scraped = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    for target in TARGETS:
        port = instructions(target, "EXPOSE")[0]
        assert scraped[f"blurline-{target}"]["names"] == [target]
        assert scraped[f"blurline-{target}"]["port"] == int(port)
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
