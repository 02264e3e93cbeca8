"""Retention by the bucket itself, as a net below the sweeper, also for when no process runs.

S3 servers remove by lifecycle rules, in whole days only and with a delay of up to another day or
two.
"""

from datetime import timedelta
from math import ceil
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from blurline.errors import StoreUnavailableError
from blurline.storage.retention import DATA_KEYS, METADATA, ORIGINALS, RESULTS, Retention

DAY = timedelta(days=1)


def lifecycle_rules(retention: Retention, root: str = "") -> list[dict[str, Any]]:
    """Rules for `put_bucket_lifecycle_configuration` that keep no object less than its time.

    Times are rounded up to whole days, of which S3 wants at least one. In a bucket that keeps
    versions, those of removed objects go after a day, the shortest time that S3 knows. For wrapped
    keys that holds without any retention too, since otherwise no original could be forgotten.

    Args:
        root: what stands before all names in the bucket, such as `street/2026/`.
    """
    limits = [
        (ORIGINALS, retention.originals),
        (DATA_KEYS, retention.originals),
        *((folder, retention.results) for folder in RESULTS),
        *((folder, retention.metadata) for folder in METADATA),
    ]
    return [
        _rule(folder, limit, root)
        for folder, limit in limits
        if limit is not None or folder == DATA_KEYS
    ]


def set_lifecycle(client: Any, bucket: str, retention: Retention, root: str = "") -> bool:
    """Give the bucket the rules for this retention; whether it has them now, and just so.

    They take the place of earlier ones for the same root; rules of other origin stay. A server
    without lifecycle rules, or credentials without the right to set them, are a plain False: the
    sweeper does the work then.

    Args:
        client: boto3's client of S3.
        root: as for `lifecycle_rules`.

    Raises:
        StoreUnavailableError: the server does not answer.
    """
    rules = lifecycle_rules(retention, root)
    ours = {_rule_id(folder, root) for folder in (ORIGINALS, DATA_KEYS, *RESULTS, *METADATA)}
    try:
        others = [rule for rule in _present_rules(client, bucket) if rule.get("ID") not in ours]
        client.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": [*others, *rules]}
        )
        present = [rule for rule in _present_rules(client, bucket) if rule.get("ID") in ours]
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (500, 503):
            raise StoreUnavailableError("the S3 server is out of order") from error
        return False
    except BotoCoreError as error:
        raise StoreUnavailableError("the S3 server does not answer") from error
    return sorted(present, key=_id) == sorted(rules, key=_id)


def _rule(folder: str, limit: timedelta | None, root: str) -> dict[str, Any]:
    expiration = {} if limit is None else {"Expiration": {"Days": max(1, ceil(limit / DAY))}}
    return {
        "ID": _rule_id(folder, root),
        "Status": "Enabled",
        "Filter": {"Prefix": f"{root}{folder}/"},
        **expiration,
        "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
    }


def _present_rules(client: Any, bucket: str) -> list[dict[str, Any]]:
    try:
        return list(client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise


def _rule_id(folder: str, root: str) -> str:
    return f"blurline-{root}{folder}"


def _id(rule: dict[str, Any]) -> str:
    return str(rule["ID"])
