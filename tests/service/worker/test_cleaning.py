"""The upkeep of the store: what is too old goes, is written down, and the bucket helps."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import pytest
from redis import Redis

from blurline.audit import AuditTrail
from blurline.imaging.kind import Kind
from blurline.settings import load_settings
from blurline.storage import keys
from blurline.storage.lifecycle import lifecycle_rules
from blurline.storage.objects import open_store
from blurline.storage.retention import Retention
from blurline.storage.vault import open_vault
from blurline.worker.cleaning import LOCK_KEY, Cleaning, ask_bucket, open_sweeper, retention_of
from tests.parts import S3Server, files_below


def aged(folder: Path, days: float) -> None:
    """As if every file had been written so many days ago."""
    then = time.time() - 86400 * days
    for path in files_below(folder):
        os.utime(path, (then, then))


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


def test_an_original_that_is_too_old_goes_and_is_written_down(redis: Redis, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, keep_originals_days=2)
    store, job_id = open_store(settings), str(uuid4())
    vault = open_vault(settings, store)
    vault.put(job_id, Kind.JPEG, b"a picture")
    aged(tmp_path / "store", 1)
    cleaning = Cleaning(redis, open_sweeper(settings, store))

    cleaning.sweep()
    assert vault.get(job_id, Kind.JPEG) == b"a picture"

    aged(tmp_path / "store", 3)
    cleaning.sweep()
    assert vault.get(job_id, Kind.JPEG) is None
    assert store.get(keys.data_key(job_id)) is None
    (line,) = AuditTrail(store).lines()
    assert (line["job_id"], line["event"], line["actor"]) == (job_id, "original_deleted", "sweeper")
    assert AuditTrail(store).inspect().whole


def test_one_process_sweeps_at_a_time(redis: Redis, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, keep_results_days=1)
    store = open_store(settings)
    name = keys.processed(str(uuid4()), Kind.JPEG)
    store.put(name, b"a picture", "image/jpeg")
    aged(tmp_path / "store", 2)
    cleaning = Cleaning(redis, open_sweeper(settings, store))

    with redis.lock(LOCK_KEY, timeout=60):
        cleaning.sweep()
        assert store.get(name) == b"a picture"
    cleaning.sweep()
    assert store.get(name) is None


def test_without_times_nothing_ever_goes(redis: Redis, tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path)
    store = open_store(settings)
    name = keys.processed(str(uuid4()), Kind.JPEG)
    store.put(name, b"a picture", "image/jpeg")
    aged(tmp_path / "store", 10_000)

    Cleaning(redis, open_sweeper(settings, store)).sweep()

    assert store.get(name) == b"a picture"
    assert retention_of(settings) == Retention()


def test_a_bucket_gets_rules_for_the_same_times(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)

    client = boto3.client("s3", region_name="us-east-1", endpoint_url=s3.url)
    client.put_object(Bucket=S3Server.BUCKET, Key="something", Body=b"")

    ask_bucket(load_settings(keep_originals_days=1.5, keep_results_days=30))

    found = client.get_bucket_lifecycle_configuration(Bucket=S3Server.BUCKET)["Rules"]
    wanted = lifecycle_rules(Retention(timedelta(days=1.5), timedelta(days=30)))
    assert sorted(rule["ID"] for rule in found) == sorted(rule["ID"] for rule in wanted)


def test_a_folder_or_a_bucket_without_times_is_not_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    # Nothing answers at this address, which is told of in the log by whoever asks.
    away = {"s3_bucket": "photos", "aws_endpoint_url": "http://127.0.0.1:9", "aws_region": "x"}
    ask_bucket(load_settings(data_dir=tmp_path, keep_results_days=1))
    ask_bucket(load_settings(**away))
    assert caplog.text == ""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3Server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3Server.SECRET)
    ask_bucket(load_settings(**away, keep_results_days=1))
    assert "lifecycle" in caplog.text
