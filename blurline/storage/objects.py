"""A store by obstore: a local folder, S3, Google Cloud Storage, Azure or memory."""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import LocalStore, ObjectStore, S3Store, from_url

from blurline import metrics
from blurline.errors import SettingsError, StoreUnavailableError
from blurline.files import FILE_MODE, OTHERS, private_folder, shut
from blurline.settings import Settings
from blurline.storage.store import Seen

# A worker's job is retried by the queue and a client's upload by the client, so the store itself
# gives up soon instead of holding a thread for minutes.
RETRIES = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
TIMEOUTS = {"connect_timeout": "3s", "timeout": "30s"}

STAGED = re.compile(r".+#\d+")
"""Files that `LocalStore` writes before it gives them their name. No key here holds a #."""

LISTED = 1000
"""Names that one request lists; S3 gives no more."""

PLAIN_ANSWERS = (
    NotFoundError,
    AlreadyExistsError,
    PreconditionError,
    FileNotFoundError,
    FileExistsError,
)

T = TypeVar("T")

log = logging.getLogger(__name__)


class ObstoreStore:
    """Objects below one root, which is a bucket or a folder."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        # Folders have no place for a content type, so it is only sent to servers.
        self._keeps_attributes = not isinstance(store, LocalStore)

    def get(self, key: str) -> bytes | None:
        """See `Store.get`."""
        try:
            return self._ask(lambda: bytes(obstore.get(self._store, key).bytes()))
        except (NotFoundError, FileNotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise _unavailable("there is no bucket of that name") from error
            return None

    def look(self, key: str) -> Seen | None:
        """See `Store.look`. A server does not say whether it is the bucket that is missing."""
        try:
            found = self._ask(lambda: obstore.head(self._store, key))
        except (NotFoundError, FileNotFoundError):
            return None
        return Seen(found["size"], found["e_tag"] or "")

    def part(self, key: str, seen: Seen, start: int, end: int) -> bytes | None:
        """See `Store.part`. Each is a request of its own, so a slow reader holds none."""
        options: Any = {"range": (start, end), "if_match": seen.version or None}
        try:
            got = self._ask(lambda: obstore.get(self._store, key, options=options).bytes())
        except (NotFoundError, FileNotFoundError, PreconditionError):
            return None
        return bytes(got)

    def put(self, key: str, data: bytes, content_type: str) -> None:
        """See `Store.put`."""
        self._write(key, data, content_type, "overwrite")

    def create(self, key: str, data: bytes, content_type: str) -> bool:
        """See `Store.create`: `If-None-Match: *` on S3, a hard link in a folder."""
        try:
            self._write(key, data, content_type, "create")
        except (AlreadyExistsError, FileExistsError):
            return False
        return True

    def delete(self, key: str) -> None:
        """See `Store.delete`."""
        try:
            self._ask(lambda: obstore.delete(self._store, key))
        except (NotFoundError, FileNotFoundError):
            return

    def older(
        self,
        folder: str,
        before: datetime,
        after: datetime | None = None,
        below: float = inf,
    ) -> Iterator[str]:
        """See `Store.older`."""
        since = after or datetime.min.replace(tzinfo=UTC)
        try:
            pages = self._ask(lambda: obstore.list(self._store, folder, chunk_size=LISTED))
            while page := self._ask(lambda: next(pages, None)):
                yield from (
                    found["path"]
                    for found in page
                    if since <= found["last_modified"] < before and found["size"] < below
                )
        except (NotFoundError, FileNotFoundError) as error:
            raise _unavailable("there is no bucket of that name") from error

    def check(self) -> None:
        """See `Store.check`. Lists one key: that needs the server, the bucket and the rights."""
        self._ask(lambda: next(iter(obstore.list(self._store, "metadata", chunk_size=1)), None))

    def tidy(self, before: datetime) -> int:
        """See `Store.tidy`. A server keeps nothing of a write that was cut off."""
        return 0

    def _write(self, key: str, data: bytes, content_type: str, mode: Any) -> None:
        try:
            self._ask(lambda: self._put(key, data, content_type, mode))
        except (NotFoundError, FileNotFoundError) as error:
            # Of a write S3 says so when the bucket itself is missing.
            raise _unavailable("there is no bucket of that name") from error

    def _put(self, key: str, data: bytes, content_type: str, mode: Any) -> None:
        attributes: Any = {"Content-Type": content_type} if self._keeps_attributes else None
        obstore.put(self._store, key, data, attributes=attributes, mode=mode)

    def _ask(self, call: Callable[[], T]) -> T:
        """The call's answer; what is no plain answer means that the store is out of order."""
        try:
            return call()
        except PLAIN_ANSWERS:
            raise
        except (BaseError, OSError) as error:
            raise _unavailable("the object store does not answer as it should") from error


class FolderStore(ObstoreStore):
    """Objects as files below a folder, which has to stay where it is.

    Folder and files are for their owner alone. Of a folder that is not, the rights of others are
    taken at once, which keeps them from all that is in it.
    """

    def __init__(self, folder: Path) -> None:
        folder = folder.resolve()
        private_folder(folder)
        super().__init__(LocalStore(folder))
        self._folder = folder
        with suppress(OSError):
            if shut(folder):
                log.warning("the folder of the store was open to others; now it is not")
        if folder.stat().st_mode & OTHERS:
            log.warning("the folder of the store is open to others, and is not ours to close")

    def check(self) -> None:
        """See `Store.check`."""
        if not self._folder.is_dir():
            raise _unavailable("the folder of the store is gone")

    def tidy(self, before: datetime) -> int:
        """See `Store.tidy`. Looks at all files, and closes those that are open to others."""
        removed = 0
        for folder, folders, names in os.walk(self._folder):
            for name in (*folders, *names):
                path = Path(folder, name)
                with suppress(OSError):  # its writer lives, another one tidies, or it is not ours
                    if not STAGED.fullmatch(name):
                        shut(path)
                    elif path.stat().st_mtime < before.timestamp():
                        path.unlink()
                        removed += 1
        return removed

    def _put(self, key: str, data: bytes, content_type: str, mode: Any) -> None:
        # What obstore makes is open to others as far as the umask lets it.
        path = self._folder / key
        try:
            private_folder(path.parent)
        except (FileExistsError, NotADirectoryError) as error:
            # It must not read as if the object itself were there.
            raise _unavailable("something is in the way of a folder of the store") from error
        super()._put(key, data, content_type, mode)
        with suppress(FileNotFoundError):  # deleted by another one meanwhile
            path.chmod(FILE_MODE)

    def _ask(self, call: Callable[[], T]) -> T:
        # A folder that is gone must not read as an empty one, nor be made anew in the mount point.
        self.check()
        return super()._ask(call)


def _unavailable(message: str) -> StoreUnavailableError:
    """The error to raise; it is counted."""
    metrics.STORE_ERRORS.inc()
    return StoreUnavailableError(message)


def open_store(settings: Settings) -> ObstoreStore:
    """The store that the settings name: a bucket, any URL, or a folder in `DATA_DIR`.

    Raises:
        SettingsError: `STORE_URL` is not one that obstore knows.
    """
    if settings.s3_bucket:
        return _s3(settings.s3_bucket, settings)
    if settings.store_url and settings.store_url.startswith("s3://"):
        return _s3(settings.store_url.removeprefix("s3://"), settings)
    if settings.store_url and settings.store_url.startswith("file://"):
        return FolderStore(Path(url2pathname(urlsplit(settings.store_url).path)))
    if settings.store_url:
        try:
            options: Any = {"client_options": TIMEOUTS, "retry_config": RETRIES}
            return ObstoreStore(from_url(settings.store_url, **options))
        except (BaseError, ValueError) as error:
            raise SettingsError("STORE_URL is no URL of a store that obstore knows") from error
    return FolderStore(settings.data_dir / "store")


def _s3(place: str, settings: Settings) -> ObstoreStore:
    """A bucket, with credentials from boto3's chain; `place` is `bucket` or `bucket/prefix`."""
    # A tenth of the API's start that only S3 is worth.
    import boto3
    from obstore.auth.boto3 import Boto3CredentialProvider

    bucket, _, prefix = place.strip("/").partition("/")
    session = boto3.session.Session(region_name=settings.aws_region)
    if session.get_credentials() is None:
        raise SettingsError(
            "S3 needs credentials and boto3's chain has none: set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run with a role"
        )
    endpoint = settings.aws_endpoint_url
    options: Any = {
        "region": session.region_name or "us-east-1",
        "credential_provider": Boto3CredentialProvider(session),
        "client_options": {**TIMEOUTS, "allow_http": bool(endpoint)},
        "retry_config": RETRIES,
        "prefix": prefix or None,
        **({"endpoint": endpoint, "virtual_hosted_style_request": False} if endpoint else {}),
    }
    return ObstoreStore(S3Store(bucket, **options))
