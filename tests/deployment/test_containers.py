"""What the Dockerfile and the compose files promise, and what the API's image goes without."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import botocore
import httpx
import pytest
import yaml
from PIL import Image

from bench.s3server import free_port
from blurline import __version__
from blurline.models.catalogue import catalogue
from blurline.settings import Settings
from deploy.engine import EngineError, find_docker
from deploy.image import AWS_SERVICES, NOT_IN_API, name_of, requirements, trim
from deploy.rig import STANDINS_FILE, image
from tests.deployment_files import (
    CREDENTIALS,
    DOCKERFILE,
    SETTINGS,
    TARGETS,
    VARIABLE,
    compose,
    compose_environment,
    image_environment,
    instructions,
    stages,
    with_defaults,
)
from tests.parts import (
    ROOT,
    drawing,
    environment_of,
    eventually,
    picture_file,
    settings_for,
)

IMAGES = (*TARGETS, "worker-gpu", "load")
WORKERS = ("worker", "worker-gpu")
WITH_FFMPEG = {"LGPL-3.0-or-later", "GPL-2.0-or-later"}
"""The licences of FFmpeg, which reads HEIC, and of the encoders that lie in the same wheel."""
PYPROJECT = (ROOT / "pyproject.toml").read_text()
PROJECT = tomllib.loads(PYPROJECT)
TEST_FILE = ROOT / "docker-compose.test.yml"
STANDINS = (ROOT / STANDINS_FILE).parent
ON_DEMAND = {
    "keys": ["setup"],
    "worker-transform": ["transform"],
    "worker-gpu": ["gpu"],
    "k6": ["load"],
    "locust": ["load"],
}
RUNS_ONCE = {"keys", "k6", "locust"}
ADDED = {
    "s3": ["CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"],
    "keys": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
}
"""Capabilities that a service is given back."""
SERVICES = sorted(compose()["services"])


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Images


@pytest.mark.parametrize("target", IMAGES)
def test_images_run_as_an_ordinary_user(target: str) -> None:
    assert instructions(target, "USER")[-1] == "10001:10001"


@pytest.mark.parametrize("target", (*TARGETS, "worker-gpu"))
def test_images_run_a_module_of_this_project(target: str) -> None:
    command = json.loads(instructions(target, "CMD")[-1])
    module = command[1].removesuffix(":app") if command[0] == "uvicorn" else command[-1]
    assert module.startswith("blurline.")
    assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file()


@pytest.mark.parametrize("target", (*TARGETS, "worker-gpu"))
def test_images_say_how_they_are_and_what_they_are(target: str) -> None:
    (port,) = instructions(target, "EXPOSE")
    assert f"127.0.0.1:{port}/" in instructions(target, "HEALTHCHECK")[-1]
    assert f"VERSION={__version__}" in instructions(target, "ARG")
    (labels,) = instructions(target, "LABEL")
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in labels


def test_images_name_the_licences_of_the_weights_and_libraries_that_they_hold() -> None:
    held = {model.licence for model in catalogue().values()} | {PROJECT["project"]["license"]}
    for target in WORKERS:
        (labels,) = instructions(target, "LABEL")
        match = re.search(r'licenses="([^"]+)"', labels)
        assert match
        weights = {f"{n}-only" if "GPL" in n else n for n in held}
        assert set(match[1].split(" AND ")) == weights | WITH_FFMPEG


def test_image_build_sees_the_package_and_nothing_else() -> None:
    needed = {"blurline", "constraints.txt", "pyproject.toml", PROJECT["project"]["readme"]}
    needed |= {"deploy/image.py", *PROJECT["project"]["license-files"]}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == needed


def test_images_hold_the_weights_only_where_networks_run() -> None:
    assert not [rest for rest in instructions("api", "COPY") if "models" in rest]
    for target in WORKERS:
        folder = image_environment(target)["MODEL_DIR"]
        assert f"--from=models {folder} {folder}" in instructions(target, "COPY")
        assert f"MODEL_DIR={folder} blurline models pull" in instructions("models", "RUN")


def test_no_image_keeps_the_package_index_it_was_built_from() -> None:
    for target in IMAGES:
        assert not [rest for rest in instructions(target, "ARG") if "INDEX" in rest]
    assert not [
        rest for stage in stages() for rest in instructions(stage, "ENV") if "INDEX" in rest
    ]


# What an image is made of


def test_the_api_leaves_out_dependencies_and_the_worker_none() -> None:
    everything = PROJECT["project"]["dependencies"]
    assert requirements(PYPROJECT, api=False) == everything
    left = [text for text in everything if name_of(text) not in NOT_IN_API]
    assert requirements(PYPROJECT, api=True) == left
    assert len(left) == len(everything) - len(NOT_IN_API)


def test_extras_are_added_by_name() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = requirements(PYPROJECT, api=False, extras=["gpu", "torch"])
    assert wanted == [*PROJECT["project"]["dependencies"], *extras["gpu"], *extras["torch"]]
    with pytest.raises(KeyError):
        requirements(PYPROJECT, api=False, extras=["tpu"])


def test_a_package_that_is_no_dependency_can_not_be_left_out_unnoticed() -> None:
    with pytest.raises(ValueError, match="openvino"):
        requirements(PYPROJECT.replace('"openvino', '"closedvino'), api=True)


def test_trimming_leaves_the_services_that_are_asked_for(tmp_path: Path) -> None:
    installed = Path(botocore.__file__).parent / "data"
    folder = tmp_path / "botocore" / "data"
    for service in (*AWS_SERVICES, "ec2"):
        assert (installed / service).is_dir()
        (folder / service).mkdir(parents=True)
        (folder / service / "service.json").touch()
    (folder / "endpoints.json").touch()
    trim(tmp_path)
    kept = {f"{service}/service.json" for service in AWS_SERVICES}
    assert set(files_of(folder)) == kept | {"endpoints.json"}


API_WITHOUT = """
import sys
for name in sys.argv[2:]:
    sys.modules[name] = None
import uvicorn
http = "blurline.api.protocol:GuardedProtocol"
uvicorn.run("blurline.entry.api:app", port=int(sys.argv[1]), http=http)
"""


def test_the_api_serves_without_what_its_image_leaves_out(redis_url: str, tmp_path: Path) -> None:
    modules = [
        module
        for module, owners in packages_distributions().items()
        if {owner.lower() for owner in owners} & set(NOT_IN_API)
    ]
    assert {"cv2", "numpy", "openvino", "typer"} <= set(modules)
    environment = environment_of(settings_for(redis_url, tmp_path / "data"))
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", API_WITHOUT, str(port), *modules],
        env={**os.environ, **environment},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            eventually(lambda: answers(client), "the API answers")
            use(client)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert b"Traceback" not in errors, errors.decode()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def use(client: httpx.Client) -> None:
    """Ask of the API all that needs no worker."""
    picture = picture_file(Image.fromarray(drawing(64, 48)), "png")
    pictures = {"file": ("photo.png", picture, "image/png")}
    options = {"redact_zones": "[[[0, 0], [1, 0], [1, 0.5]]]", "quality": "thorough"}
    answer = client.post("/upload", files=pictures, data=options)
    assert answer.status_code == 202, answer.text
    job = answer.json()["job_id"]
    files = [("files", ("photo.png", picture, "image/png"))] * 2
    batch = client.post("/batch-upload", files=files).json()["batch_id"]
    for path in (f"/status/{job}", f"/batch/{batch}", "/stats", "/queue-status", "/metrics"):
        assert client.get(path).status_code == 200, path
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/docs").status_code == 200
    assert client.get(f"/result/{job}").status_code == 409
    assert client.delete(f"/jobs/{job}").status_code == 200


# Environment


@pytest.mark.parametrize("target", (*TARGETS, "worker-gpu"))
def test_every_environment_name_of_an_image_and_its_service_is_a_setting(target: str) -> None:
    of_image = {name for name in image_environment(target) if not name.startswith("PYTHON")}
    assert of_image - {"PATH"} <= SETTINGS
    assert set(compose_environment(target)) <= SETTINGS | CREDENTIALS


@pytest.mark.parametrize("target", (*TARGETS, "worker-gpu"))
def test_compose_gives_values_that_the_settings_take(target: str) -> None:
    values = {**image_environment(target), **compose_environment(target)}
    # An empty one counts as none.
    settings = Settings(**{n.lower(): v for n, v in values.items() if n in SETTINGS and v})
    assert settings.redis_url
    assert settings.s3_bucket


# Compose


@pytest.mark.parametrize(
    "path",
    [ROOT / "docker-compose.yml", TEST_FILE, STANDINS / "compose.yml"],
    ids=["compose", "test", "stand-ins"],
)
def test_compose_files_follow_the_compose_specification(path: Path) -> None:
    compose_spec = pytest.importorskip("compose_spec")
    content = yaml.safe_load(with_defaults(path.read_text()))
    plain = {key: value for key, value in content.items() if not key.startswith("x-")}
    compose_spec.PyCompose.from_json(json.dumps(plain)).validate()


@pytest.mark.validator(name="docker compose")
@pytest.mark.parametrize(
    "more", [(), (TEST_FILE,), (STANDINS / "compose.yml",)], ids=["alone", "test", "stand-ins"]
)
def test_compose_itself_takes_the_files(more: tuple[Path, ...]) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    files = [part for path in (ROOT / "docker-compose.yml", *more) for part in ("-f", str(path))]
    names = (
        "S3_SECRET_KEY",
        "GRAFANA_PASSWORD",
        *(f"REDIS_{user}_PASSWORD" for user in ("API", "WORKER", "OPERATOR")),
    )
    chosen = dict.fromkeys(names, "x")
    done = subprocess.run(
        [docker, "compose", *files, "--profile", "*", "config", "--format", "json"],
        env={**os.environ, **chosen},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)


@pytest.mark.parametrize("target", IMAGES)
def test_compose_builds_the_images_of_this_version(target: str) -> None:
    built = [
        service
        for service in compose()["services"].values()
        if service.get("build", {}).get("target") == target
    ]
    assert built
    assert target in stages()
    for service in built:
        assert service["build"] == {"context": ".", "target": target}
        assert service["image"] == f"blurline-{target}:{__version__}"


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_may_do_more_than_it_must(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add") == ADDED.get(name)
    limits = service["deploy"]["resources"]["limits"]
    assert {"memory", "pids"} <= set(limits)


@pytest.mark.parametrize("name", SERVICES)
def test_what_serves_comes_back_by_itself_and_says_how_it_is(name: str) -> None:
    service = compose()["services"][name]
    if name in RUNS_ONCE:
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    target = service.get("build", {}).get("target")
    assert "healthcheck" in service or instructions(target, "HEALTHCHECK")


def test_only_load_keys_and_workers_of_their_own_kind_wait_to_be_asked_for() -> None:
    services = compose()["services"]
    assert {n: s["profiles"] for n, s in services.items() if "profiles" in s} == ON_DEMAND
    reserved = services["worker-gpu"]["deploy"]["resources"]["reservations"]
    assert reserved["devices"][0]["capabilities"] == ["gpu"]


def test_the_test_file_changes_services_that_there_are_and_runs_beside_the_real_one() -> None:
    changed = yaml.safe_load(TEST_FILE.read_text())
    assert changed["name"] != compose()["name"]
    assert set(changed["services"]) <= set(SERVICES)
    assert "profiles" not in str(changed)


def test_every_image_that_compose_fetches_has_a_stand_in_but_grafanas() -> None:
    services = compose()["services"]
    changed = yaml.safe_load((STANDINS / "compose.yml").read_text())["services"]
    fetched = {name for name, service in services.items() if "build" not in service}
    targets = re.findall(r" AS (\w+)$", (STANDINS / "Dockerfile").read_text(), re.MULTILINE)
    for name in fetched - {"grafana"}:
        assert changed[name]["build"]["target"] == name
        assert name in targets
    assert "profiles" in changed["grafana"]
    built = {name for name, service in services.items() if "build" in service}
    assert set(changed) == fetched | built
    for name in built:
        bases = changed[name]["build"]["args"]
        assert {f"ARG {base}=" in DOCKERFILE.read_text() for base in bases} == {True}


def test_compose_has_every_secret_from_outside() -> None:
    secret = re.compile(r"PASSWORD|SECRET|ACCESS_KEY(?!_ID)")
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
    found = list(VARIABLE.finditer((ROOT / "docker-compose.yml").read_text()))
    used = {match["name"]: match["kind"] for match in found}
    empty = {match["name"] for match in found if match["kind"] == "-" and not match["text"]}
    lines = (ROOT / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(example) == set(used)
    needed = {name for name, kind in used.items() if kind == "?"}
    assert {name for name, value in example.items() if not value} == needed | empty


def sources(service: dict[str, Any]) -> list[str]:
    """What a service mounts: paths of the host and names of volumes."""
    volumes = service.get("volumes", ())
    return [v["source"] if isinstance(v, dict) else re.split(r":(?=/)", v)[0] for v in volumes]


def test_compose_mounts_and_networks_exist() -> None:
    for service in compose()["services"].values():
        assert set(service.get("networks", ())) <= set(compose()["networks"])
        assert set(service.get("depends_on", ())) <= set(compose()["services"])
        for source in sources(service):
            if not VARIABLE.match(source):
                in_tree = source.startswith("./") and (ROOT / source).exists()
                assert in_tree or source in compose()["volumes"], source


def test_compose_bucket_is_made_by_its_s3_server() -> None:
    bucket = compose_environment("api")["S3_BUCKET"]
    assert f"-bucket={bucket}" in compose()["services"]["s3"]["command"]


def test_compose_opens_no_port_to_other_machines() -> None:
    for service in compose()["services"].values():
        for port in service.get("ports", ()):
            assert with_defaults(port).startswith("127.0.0.1:")


# On an engine


@pytest.mark.long
def test_the_images_keep_their_promises_on_a_real_engine() -> None:
    """`make container-check` with the images that are there, stand-ins if those are."""
    try:
        docker = find_docker()
        for target in TARGETS:
            docker.inspect(image(target))
    except EngineError as error:
        pytest.skip(error.message)
    command = [sys.executable, "-m", "deploy.container_check", "--no-build"]
    if docker.run("images", "--quiet", "blurline-standin-redis:local"):
        command.append("--stand-ins")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
