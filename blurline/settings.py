"""The one table of settings: environment name, type, default and meaning.

A value comes from the first of: a keyword argument (the CLI's flags), the environment, the JSON
file that `PIPELINE_CONFIG` names, the default. `docs/settings.md` is written from this table.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from blurline.configfile import AWS_CONFIG_KEYS, CONFIG_VARIABLE, ConfigFileSource
from blurline.errors import SettingsError

ORIGIN = re.compile(r"\*|https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")

HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


def default_model_dir() -> Path:
    """The user's cache folder by the XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "blurline" / "models"


class Settings(BaseSettings):
    """All settings. A field's environment name is its own name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    redis_url: str | None = Field(
        None,
        repr=False,
        description="Redis of the queue, as `redis://`, `rediss://` or `unix://`, or found through "
        "Sentinels: `redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db]`, "
        "with TLS `rediss+sentinel://`. Without it `blurline up` starts an embedded Valkey with "
        "its data in `DATA_DIR`.",
    )
    redis_user: str | None = Field(
        None, description="User of Redis, where `REDIS_URL` names none and a password is set."
    )
    redis_password: str | None = Field(
        None, repr=False, description="Password of Redis, where `REDIS_URL` holds none."
    )
    redis_sentinel_password: str | None = Field(
        None, repr=False, description="Password of the Sentinels, where `REDIS_URL` holds none."
    )
    queue_name: str = Field(
        "image_processing_queue",
        min_length=1,
        description="Name of the queue of pipelines that redact.",
    )
    transform_queue: str = Field(
        "transform_queue",
        min_length=1,
        description="Name of the queue of pipelines that make another picture of the one they are "
        "given.",
    )
    max_queue_size: int = Field(
        1000, ge=1, description="Waiting jobs above which an upload is answered 429."
    )
    max_queue_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of the places that a caller may hold of those it has and those that are "
        "free, where there are several callers: see "
        "[reliability](reliability.md#places-of-one-caller); 1: all.",
    )
    max_queue_seconds: float = Field(
        600,
        ge=0,
        description="Seconds that the work ahead may take, by the workers' own pace, before an "
        "upload is answered 429; 0: only `MAX_QUEUE_SIZE` counts.",
    )
    idempotency_ttl: int = Field(
        86400,
        ge=1,
        description="Seconds for which an upload is known again by its `Idempotency-Key`, or by "
        "its content, and answered with the job that it has already: see "
        "[reliability](reliability.md#the-same-picture-twice).",
    )
    content_identity: bool = Field(
        True,
        description="Whether the same picture with the same options of the same caller is one job "
        "without an `Idempotency-Key` too.",
    )
    num_workers: int = Field(
        1, ge=1, le=256, description="Worker processes that `blurline up` starts."
    )
    worker_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Jobs of `QUEUE_NAME` that one worker process runs at a time; 0: two a core.",
    )
    worker_queues: str | None = Field(
        None,
        description="Queues that a worker process takes jobs of, comma-separated, each perhaps "
        "with how many at a time, as in `image_processing_queue:4,transform_queue:1`. A queue "
        "without a number gets `WORKER_THREADS` if it is `QUEUE_NAME`, else one for four cores. "
        "Without the setting it is all queues.",
    )
    worker_nice: int = Field(
        10,
        ge=0,
        le=19,
        description="By how much workers give way to others on the same cores, as `nice` does, so "
        "that uploads are answered at once while pictures are worked on; 0: not at all.",
    )
    job_timeout: int = Field(
        60,
        ge=1,
        description="Seconds one try of a job of `QUEUE_NAME` may take before it is given up.",
    )
    transform_timeout: int = Field(
        600, ge=1, description="The same for a job of `TRANSFORM_QUEUE`."
    )
    abandoned_after: int = Field(
        20,
        ge=4,
        description="Seconds without a sign of life after which a worker's jobs are given to "
        "others, and by which a job may outlive `JOB_TIMEOUT` before its worker ends itself. "
        "Workers give a sign four times as often. Keep it above the longest pause that a machine "
        "or Redis may make.",
    )
    result_ttl: int = Field(
        3600, ge=0, description="Seconds Redis remembers a finished job. The store keeps it."
    )
    failure_ttl: int = Field(86400, ge=0, description="Seconds Redis remembers a failed job.")
    data_dir: Path = Field(
        Path("blurline-data"), description="Folder of the embedded Valkey and of the local store."
    )
    s3_bucket: str | None = Field(
        None, description="Bucket for pictures and metadata. Without it they go to `DATA_DIR`."
    )
    aws_region: str | None = Field(
        None, description="Region of the bucket. Credentials come from boto3's own chain."
    )
    aws_endpoint_url: str | None = Field(
        None,
        description="URL of an S3 server that is not Amazon's, such as `http://127.0.0.1:9000`.",
    )
    store_url: str | None = Field(
        None,
        description="Any other store as a URL that obstore knows (`gs://`, `az://`, `file:///`); "
        "not together with `S3_BUCKET`.",
    )
    host: str = Field("127.0.0.1", description="Address that the API listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the API; 0 takes a free one.")
    access: Literal["auto", "off"] = Field(
        "auto",
        description="Whether callers are asked who they are; auto: as soon as keys or tokens are "
        "set up, and without them the API serves only its own machine. `off`: everybody who "
        "reaches it may do everything. See [access](access.md).",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys, a line of name, scopes and sha256 each; `blurline keys new` "
        "makes them. It is read again when it changes.",
    )
    jwt_jwks_url: str | None = Field(
        None,
        description="`https://` URL of the keys (JWKS) of whoever issues tokens for this service.",
    )
    jwt_key_file: Path | None = Field(
        None, description="In place of the URL: file of a JWKS, or of one public key as PEM."
    )
    jwt_secret_file: Path | None = Field(
        None,
        description="In place of the URL: file of a secret of at least 32 bytes, for HS256.",
    )
    jwt_issuer: str | None = Field(None, description="What `iss` of a token has to be.")
    jwt_audience: str | None = Field(
        None, description="What `aud` of a token has to be, or to have among others."
    )
    jwt_scope_claim: str = Field(
        "scope", min_length=1, description="Claim of a token that holds scopes: a text or a list."
    )
    rate_limit: str | None = Field(
        None,
        description="Requests that a caller may send, such as `300/minute` or "
        "`10/second; 5000/day`; a batch counts by its pictures. Without it there is no limit.",
    )
    open_metrics: bool = Field(
        False,
        description="Whether `/metrics` is open to everybody; otherwise it asks for `admin` as "
        "soon as callers are asked who they are.",
    )
    max_image_bytes: int = Field(
        50_000_000, ge=1, description="Bytes of one picture above which it is answered 413."
    )
    max_image_pixels: int = Field(
        100_000_000, ge=1, description="Pixels of one picture above which it is answered 413."
    )
    max_output_pixels: int = Field(
        200_000_000,
        ge=1,
        description="Pixels of a picture that would be made larger, above which it is answered "
        "413.",
    )
    max_image_side: int = Field(
        65_535,
        ge=1,
        description="Pixels of a picture's longer side above which it is answered 413.",
    )
    max_metadata_bytes: int = Field(
        10_000_000,
        ge=1,
        description="Bytes beside the pixels of one picture (EXIF, profiles, thumbnails, comments) "
        "above which it is answered 413.",
    )
    max_jpeg_scans: int = Field(
        100,
        ge=1,
        description="Passes over the picture that a JPEG may be coded in; one of more is answered "
        "415. Each takes as long as reading the picture once.",
    )
    max_batch_files: int = Field(1000, ge=1, description="Files that one batch may hold.")
    max_batch_bytes: int = Field(
        1_000_000_000,
        ge=1,
        description="Bytes of one batch request above which it is answered 413.",
    )
    max_spool_bytes: int = Field(
        2_000_000_000,
        ge=1,
        description="Bytes of all uploads that one API process is receiving or judging at a time, "
        "in `TMPDIR`; an upload beyond them is answered 503.",
    )
    max_form_fields: int = Field(
        100, ge=1, description="Parts that a form may hold beside the files it is meant for."
    )
    max_part_head_bytes: int = Field(
        8192, ge=256, description="Bytes of the headers of one part of a form, its name included."
    )
    max_filename_length: int = Field(
        255, ge=1, description="Characters after which the file name of a picture is cut."
    )
    upload_timeout: float = Field(
        60,
        gt=0,
        description="Seconds that a sender may take for each megabyte of an upload; a slower one "
        "is cut off.",
    )
    default_targets: str = Field(
        "face,license_plate",
        description="What is blurred when an upload does not say, comma-separated.",
    )
    default_style: Literal["mosaic", "solid", "gaussian"] = Field(
        "mosaic", description="How it is blurred when an upload does not say."
    )
    default_quality: Literal["fast", "balanced", "thorough"] = Field(
        "balanced", description="How closely the networks look when an upload does not say."
    )
    default_threshold: str | None = Field(
        None,
        description="Least confidence, 0.01 to 1, of what is blurred: one number, or one for each "
        "target as in `face=0.3,license_plate=0.2`. Without it each quality level has its own.",
    )
    default_ignore_zones: str = Field(
        "[]",
        description="Polygons of a fixed camera inside which nothing is blurred, as JSON: see "
        "[options](options.md).",
    )
    default_redact_zones: str = Field(
        "[]",
        description="Polygons of a fixed camera that are blurred whatever they show, as JSON.",
    )
    default_metadata: Literal["keep", "minimal", "none"] = Field(
        "minimal",
        description="What of a file's metadata its result keeps when an upload does not say: see "
        "[privacy](privacy.md).",
    )
    default_on_failure: Literal["fail", "obscure"] = Field(
        "fail",
        description="Whether a picture that can't be treated fails or is redacted as a whole when "
        "an upload does not say.",
    )
    default_output_format: Literal["same", "jpeg", "png", "webp", "avif"] = Field(
        "same",
        description="The kind of a result's file when an upload does not say; `same` is the "
        "original's, with PNG for GIF and JPEG for HEIC.",
    )
    second_look: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of the pictures whose result is decoded and searched again before it is "
        "published; 1: all. A second look costs nearly as much as the first.",
    )
    originals: Literal["delete", "encrypt", "keep"] = Field(
        "encrypt",
        description="What becomes of originals: encrypted with a key for each, encrypted until the "
        "job has ended and then forgotten, or kept as they are.",
    )
    master_key_file: Path | None = Field(
        None,
        description="File of master keys that the originals' keys are wrapped with, and orders, "
        "records and webhooks are sealed, a line of base64 each; the first one writes. Without it "
        "one is made in `DATA_DIR`; a store that machines share needs it.",
    )
    signing_key: Path | None = Field(
        None,
        description="PEM file of the Ed25519 key that signs certificates and receipts. Without it "
        "one is made in `DATA_DIR`.",
    )
    keep_originals_days: float = Field(
        0, ge=0, description="Days after which originals are forgotten; 0: never."
    )
    keep_results_days: float = Field(
        0, ge=0, description="Days after which redacted pictures are removed; 0: never."
    )
    keep_metadata_days: float = Field(
        0, ge=0, description="Days after which records and certificates are removed; 0: never."
    )
    blur_wait: float = Field(
        30,
        gt=0,
        description="Seconds that `POST /blur/` waits for its picture before it answers 503.",
    )
    pipelines: str | None = Field(
        None,
        description="Names of the pipelines that are offered, comma-separated; without it all. "
        "Those that blur nothing keep results in the store that show what was sent: leave them out "
        "where that must not be.",
    )
    default_pipeline: str = Field(
        "blur_detect", description="Pipeline of an upload that does not say one."
    )
    jpeg_quality: int = Field(
        90, ge=1, le=100, description="Quality of JPEG and WebP pictures that are written."
    )
    face_model: str = Field(
        "centerface",
        description="Network that finds faces: a catalogue name or a file of your own.",
    )
    plate_model: str = Field(
        "platenet",
        description="Network that finds number plates: a catalogue name or a file of your own.",
    )
    vehicle_model: str = Field(
        "yolo11n",
        description="Network that finds cars and people to blur: a catalogue name or a file.",
    )
    detection_model: str = Field(
        "yolo11n",
        description="Network of the detection stage: a catalogue name or a `.onnx` or `.pt` file.",
    )
    model_dir: Path = Field(
        default_factory=default_model_dir, description="Folder that caches the networks' files."
    )
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto",
        description="Where networks run; auto: on CUDA if the extra `gpu` (for `.pt` files: "
        "`torch`) is installed and sees a device, else on the CPU. `tensorrt` compiles `.onnx` "
        "networks for the GPU first, which takes minutes once.",
    )
    max_batch_size: int = Field(
        8, ge=1, le=256, description="Pictures that a network on a GPU computes together, at most."
    )
    max_queue_delay: float = Field(
        0.005,
        ge=0,
        le=1,
        description="Seconds for which a picture waits for others before a network on a GPU "
        "computes it.",
    )
    inference_threads: int = Field(
        0, ge=0, description="CPU threads for networks in one process; 0: one a core."
    )
    inference_precision: Literal["auto", "bf16", "f32"] = Field(
        "auto",
        description="Arithmetic of CPU networks; auto, bf16: bf16 where the CPU has it, else f32.",
    )
    worker_metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of a worker's own `/metrics`; 0: none. Of several workers that "
        "`blurline up` starts, each one has the next port.",
    )
    worker_metrics_host: str = Field(
        "127.0.0.1",
        description="Address that a worker's `/metrics` listen on; it asks nobody who they are.",
    )
    traces_url: str | None = Field(
        None,
        pattern="^https?://",
        description="OTLP/HTTP receiver that traces go to, such as "
        "`http://collector:4318/v1/traces`; needs the extra `otel`. Without it there are none. See "
        "[monitoring](monitoring.md).",
    )
    webhook_secret: str | None = Field(
        None,
        repr=False,
        description="Secret that signs webhooks, base64 of 24 to 64 bytes, the same for API and "
        "workers: see [webhooks](webhooks.md). Without it none are sent.",
    )
    webhook_allow_http: bool = Field(
        False, description="Whether webhooks may go to `http://` URLs too."
    )
    webhook_allowed_networks: str | None = Field(
        None,
        description="Networks of your own that webhooks may go to, besides public addresses, "
        "comma-separated, such as `10.20.0.0/16`.",
    )
    cors_origins: str | None = Field(
        None,
        description="Origins whose pages may use the API from a browser, comma-separated, such as "
        "`https://photos.example.org`; `*` for all. Without it none may.",
    )
    allowed_hosts: str | None = Field(
        None,
        description="Names by which the API may be asked (the header `Host`, without a port), "
        "comma-separated, such as `photos.example.org`, beside those of its own machine. Without "
        "it, any name where callers are asked who they are or `ACCESS=off`, else none. See "
        "[access](access.md#browsers).",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe kind of message that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Lines of the log for people, or an object of JSON each."
    )

    @field_validator(
        "log_level",
        "access",
        "log_format",
        "device",
        "inference_precision",
        "default_style",
        "default_quality",
        "default_metadata",
        "default_on_failure",
        "default_output_format",
        "originals",
        mode="before",
    )
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("default_ignore_zones", "default_redact_zones", mode="before")
    @classmethod
    def _json(cls, value: Any) -> Any:
        """In a JSON file the polygons may stand as they are; in the environment they are text."""
        return json.dumps(value) if isinstance(value, list) else value

    def model_post_init(self, context: Any) -> None:
        if self.s3_bucket and self.store_url:
            raise SettingsError("S3_BUCKET and STORE_URL both name a store: give one of them")
        _ = self.served
        if not all(map(ORIGIN.fullmatch, self.origins)):
            raise SettingsError(
                "CORS_ORIGINS: an origin is a scheme, a host and perhaps a port, such as "
                "https://photos.example.org:8443"
            )
        if not all(map(HOST_NAME.fullmatch, self.hosts)):
            raise SettingsError(
                "ALLOWED_HOSTS: a host is a name or an address without scheme and port, such as "
                "photos.example.org"
            )

    @property
    def served(self) -> dict[str, int]:
        """The queues of `WORKER_QUEUES` and their numbers, 0 where there is none.

        Raises:
            SettingsError: a number is none, or a queue is named twice.
        """
        found: dict[str, int] = {}
        for part in _parts(self.worker_queues or ""):
            name, colon, number = part.rpartition(":")
            name, number = (name, number) if colon else (part, "0")
            if not name or name in found or not number.isdecimal() or (colon and not int(number)):
                raise SettingsError(
                    "WORKER_QUEUES: a part is the name of a queue, once, and perhaps a colon and "
                    "how many of its jobs run at a time, such as transform_queue:1"
                )
            found[name] = int(number)
        return found

    @property
    def offered(self) -> tuple[str, ...]:
        """The names of `PIPELINES`."""
        return _parts(self.pipelines or "")

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins of `CORS_ORIGINS`."""
        return _parts(self.cors_origins or "")

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of `ALLOWED_HOSTS`, in small letters, addresses without brackets."""
        return tuple(name.lower().strip("[]") for name in _parts(self.allowed_hosts or ""))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, ConfigFileSource(settings_cls)


def load_settings(**overrides: Any) -> Settings:
    """The settings in force; `overrides` that are None are as if not given.

    Raises:
        SettingsError: one line that names the setting and what is wrong with it.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return _with_login(Settings(**given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "settings"
        raise SettingsError(f"{name}: {first['msg']}") from error


def _with_login(settings: Settings) -> Settings:
    """The settings, in whose URL of Redis the passwords are that stand beside it."""
    url, password = settings.redis_url, settings.redis_password
    if url is None or not url.startswith("redis"):
        return settings
    scheme, _, place = url.partition("://")
    if password and "@" not in place.partition("/")[0]:
        place = f"{quote(settings.redis_user or '', '')}:{quote(password, '')}@{place}"
    secret = settings.redis_sentinel_password
    if secret and scheme.endswith("+sentinel") and "sentinel_password=" not in place:
        place += f"{'&' if '?' in place else '?'}sentinel_password={quote(secret, '')}"
    return settings.model_copy(update={"redis_url": f"{scheme}://{place}"})


def settings_page() -> str:
    """The Markdown page `docs/settings.md`."""
    rows = "\n".join(
        f"| {' | '.join((f'`{name.upper()}`', *_description(name, field)))} |"
        for name, field in Settings.model_fields.items()
    )
    keys = ", ".join(f"`{key}` ({target.upper()})" for key, target in AWS_CONFIG_KEYS.items())
    return f"""# Settings

<!-- Written by `make docs` from blurline/settings.py; edit that file instead. -->

A value is taken from the first place that has one: a flag of the command line, the environment,
the JSON file that `{CONFIG_VARIABLE}` names, the default.

The JSON file holds the same names in lower case, such as `redis_url`, `num_workers` or
`max_queue_size`, and may hold an object `aws_config` with {keys}.
A name that is not known is an error. Credentials never belong into that file: they come from
boto3's chain.

| environment | type | default | meaning |
|---|---|---|---|
{rows}
"""


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _type_name(field: FieldInfo) -> str:
    annotation = field.annotation
    if getattr(annotation, "__origin__", None) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in annotation.__args__)  # type: ignore[union-attr]
    plain = str(annotation.__name__ if isinstance(annotation, type) else annotation)
    plain = plain.replace(" | None", "").removeprefix("pathlib.")
    return plain.replace("str", "text").replace("Path", "path")


def _description(name: str, field: FieldInfo) -> tuple[str, str, str]:
    return _type_name(field), _default(name, field), field.description or ""


def _default(name: str, field: FieldInfo) -> str:
    if name == "model_dir":
        return "`~/.cache/blurline/models`"
    return "none" if field.default is None else f"`{field.default}`"


if __name__ == "__main__":
    Path("docs/settings.md").write_text(settings_page(), encoding="utf-8")
