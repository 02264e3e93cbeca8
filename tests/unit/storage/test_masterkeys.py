"""What master keys promise: they come from where they shall, and are shown to nobody."""

import os
import stat
from base64 import b64encode
from pathlib import Path

import pytest

from blurline.errors import SettingsError
from blurline.storage.masterkeys import MasterKeys, load_master_keys
from blurline.storage.sealing import OriginalUnreadableError


def test_a_master_key_that_nobody_brought_is_for_its_owner_alone(tmp_path: Path) -> None:
    load_master_keys(None, tmp_path)
    secret = tmp_path / "keys" / "master.key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700


def test_a_file_of_master_keys_is_read_line_by_line(tmp_path: Path) -> None:
    old, new = os.urandom(32), os.urandom(32)
    lines = [b"# since March", b64encode(new), b"", b"  " + b64encode(old) + b"\r"]
    (tmp_path / "mine").write_bytes(b"\n".join(lines))
    wrapped = load_master_keys(tmp_path / "mine", tmp_path).wrap(bytes(32), b"here")
    assert MasterKeys([new]).unwrap(wrapped, b"here") == bytes(32)
    wrapped = MasterKeys([old]).wrap(bytes(32), b"here")
    assert load_master_keys(tmp_path / "mine", tmp_path).unwrap(wrapped, b"here") == bytes(32)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_wrapped_key_is_bound_to_its_context() -> None:
    masters = MasterKeys([os.urandom(32)])
    with pytest.raises(OriginalUnreadableError):
        masters.unwrap(masters.wrap(bytes(32), b"here"), b"there")


@pytest.mark.parametrize(
    "content",
    [b"", b"# nothing\n", b"not base64!\n", b64encode(bytes(16)), b64encode(bytes(32)) + b"\nAAAA"],
    ids=["empty", "comment", "nonsense", "short", "second"],
)
def test_a_file_without_master_keys_is_a_wrong_setting_and_not_quoted(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "mine").write_bytes(content)
    with pytest.raises(SettingsError, match="openssl rand") as error:
        load_master_keys(tmp_path / "mine", tmp_path)
    assert "AAAA" not in str(error.value)


def test_a_file_of_master_keys_that_is_missing_is_said_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load_master_keys(tmp_path / "mine", tmp_path)
    assert list(tmp_path.iterdir()) == []
