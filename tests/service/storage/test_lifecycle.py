"""Lifecycle rules of S3, on a real server."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

from blurline.errors import StoreUnavailableError
from blurline.storage import keys
from blurline.storage.lifecycle import lifecycle_rules, set_lifecycle
from blurline.storage.retention import DATA_KEYS, METADATA, ORIGINALS, RESULTS, Retention
from tests.parts import S3Server, eventually, free_port, needs_s3

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FOLDERS = {ORIGINALS, DATA_KEYS, *RESULTS, *METADATA}
JOB = str(uuid4())


@pytest.fixture
def client(s3_server: S3Server) -> Any:
    """boto3's client of the real server, whose bucket is there."""
    client = s3_client(s3_server.url)
    client.put_object(Bucket=S3Server.BUCKET, Key="something", Body=b"")
    yield client
    client.delete_bucket_lifecycle(Bucket=S3Server.BUCKET)


def s3_client(url: str, key: str = S3Server.KEY) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=S3Server.SECRET,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2),
    )


@pytest.mark.parametrize(
    ("limit", "days"),
    [(HOUR, 1), (DAY, 1), (DAY + HOUR, 2), (30 * DAY, 30), (timedelta(0), 1)],
)
def test_rules_keep_no_object_less_than_its_time(limit: timedelta, days: int) -> None:
    rules = lifecycle_rules(Retention(limit, limit, limit), "street/")
    assert {rule["Filter"]["Prefix"]: rule["Expiration"]["Days"] for rule in rules} == {
        f"street/{folder}/": days for folder in FOLDERS
    }
    assert len({rule["ID"] for rule in rules}) == len(rules)


def test_versions_of_keys_always_go() -> None:
    (rule,) = lifecycle_rules(Retention())
    assert rule["Filter"] == {"Prefix": "keys/"}
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert "Expiration" not in rule


@needs_s3
def test_a_real_server_takes_the_rules_and_keeps_those_of_others(client: Any) -> None:
    foreign = {
        "ID": "theirs",
        "Status": "Enabled",
        "Filter": {"Prefix": "theirs/"},
        "Expiration": {"Days": 7},
    }
    client.put_bucket_lifecycle_configuration(
        Bucket=S3Server.BUCKET, LifecycleConfiguration={"Rules": [foreign]}
    )
    long, short = Retention(2 * DAY, 30 * DAY, 365 * DAY), Retention(HOUR)
    other = Retention(results=DAY)
    assert set_lifecycle(client, S3Server.BUCKET, long)
    assert set_lifecycle(client, S3Server.BUCKET, other, "another/")
    assert set_lifecycle(client, S3Server.BUCKET, short)
    found = client.get_bucket_lifecycle_configuration(Bucket=S3Server.BUCKET)["Rules"]
    wanted = [foreign, *lifecycle_rules(other, "another/"), *lifecycle_rules(short)]
    assert sorted(found, key=lambda rule: rule["ID"]) == sorted(wanted, key=lambda rule: rule["ID"])


@needs_s3
def test_a_server_that_refuses_the_rules_is_found_out(client: Any, s3_server: S3Server) -> None:
    assert not set_lifecycle(client, "no-such-bucket", Retention(DAY))
    stranger = s3_client(s3_server.url, "stranger")
    assert not set_lifecycle(stranger, S3Server.BUCKET, Retention(DAY))
    with pytest.raises(client.exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
        client.get_bucket_lifecycle_configuration(Bucket=S3Server.BUCKET)


def test_a_server_that_is_away_is_said() -> None:
    with pytest.raises(StoreUnavailableError):
        set_lifecycle(s3_client(f"http://127.0.0.1:{free_port()}"), "photos", Retention(DAY))


@needs_s3
def test_in_a_bucket_with_versions_only_the_rules_make_a_key_go(client: Any) -> None:
    name = f"versions-{uuid4()}"
    client.create_bucket(Bucket=name)
    eventually(lambda: client.head_bucket(Bucket=name), "the bucket is there")
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=name, Key=keys.data_key(JOB), Body=b"key")
    client.delete_object(Bucket=name, Key=keys.data_key(JOB))
    left = client.list_object_versions(Bucket=name, Prefix="keys/")["Versions"]
    assert len(left) == 1  # which is what the rule for versions is for
    assert set_lifecycle(client, name, Retention())
