"""What the parts of the composed service promise each other: queue, keys, time to stop, metrics."""

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
import yaml

from blurline.settings import Settings
from tests.deployment_files import (
    TARGETS,
    compose,
    compose_environment,
    image_environment,
    instructions,
)
from tests.parts import ROOT

PROMETHEUS = ROOT / "monitoring/prometheus.yml"
KEYS = ("MASTER_KEY_FILE", "SIGNING_KEY")
SECRETS_DIR = "${SECRETS_DIR:-./secrets}"
REDIS_FLAGS = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}


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
        assert compose()["secrets"][place.name]["file"] == f"{SECRETS_DIR}/{place.name}"


def test_compose_makes_the_keys_that_the_processes_are_given(tmp_path: Path) -> None:
    """The service `keys`, its command run here: the files have the names that the others mount."""
    service = compose()["services"]["keys"]
    program, *arguments = service["command"][: service["command"].index("--owner")]
    (source, target) = service["volumes"][0].rsplit(":", 1)
    assert source == SECRETS_DIR
    assert target == f"{service['environment']['DATA_DIR']}/keys"
    environment = {**os.environ, "DATA_DIR": str(tmp_path)}
    subprocess.run(
        [Path(sys.executable).with_name(program), *arguments], env=environment, check=True
    )
    made = {path.name for path in (tmp_path / "keys").iterdir()}
    callers = PurePosixPath(service["environment"]["API_KEYS_FILE"])
    assert str(callers.parent) == target
    assert {*compose()["secrets"], callers.name} <= made
    assert service["network_mode"] == "none"


def test_the_images_user_owns_the_keys() -> None:
    command = compose()["services"]["keys"]["command"]
    (user, _) = instructions("api", "USER")[-1].split(":")
    assert command[command.index("--owner") + 1] == user


def test_the_api_asks_who_calls_and_only_the_api_knows_the_keys() -> None:
    assert image_environment("api")["HOST"] == "0.0.0.0"  # noqa: S104
    place = PurePosixPath(compose_environment("api")["API_KEYS_FILE"])
    services = compose()["services"]
    (mount,) = services["api"]["volumes"]
    assert (mount["source"], mount["read_only"]) == (SECRETS_DIR, True)
    assert str(place.parent) == mount["target"]
    assert "volumes" not in services["worker"]
    assert place.name not in services["worker"]["secrets"]
    # Prometheus brings no key.
    assert compose_environment("api")["OPEN_METRICS"] == "true"
    assert "ACCESS" not in compose_environment("api")


SCRAPED = {"api": ["api"], "worker": ["worker", "worker-transform", "upkeep"]}
"""Names of services by the image whose port they serve."""


def test_prometheus_scrapes_the_ports_that_are_served() -> None:
    config = yaml.safe_load(PROMETHEUS.read_text())
    scraped = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    for target in TARGETS:
        port = instructions(target, "EXPOSE")[0]
        assert scraped[f"blurline-{target}"]["names"] == SCRAPED[target]
        assert scraped[f"blurline-{target}"]["port"] == int(port)
        assert "monitoring" in compose()["services"][target]["networks"]
    for target in ("worker", "worker-gpu"):
        environment = image_environment(target)
        assert environment["WORKER_METRICS_PORT"] == instructions(target, "EXPOSE")[0]
        # By itself a worker shows them to its own machine alone.
        assert environment["WORKER_METRICS_HOST"] == "0.0.0.0"  # noqa: S104
        assert compose()["services"][target]["environment"]["WORKER_METRICS_HOST"] == "0.0.0.0"  # noqa: S104
