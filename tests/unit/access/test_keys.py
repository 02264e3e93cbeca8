"""API keys: made once, kept as hashes, and refused as soon as they are taken out of their file."""

import os
import re
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from blurline.access.apikeys import NAME, PREFIX, find, new_key, parse_keys, parse_scopes
from blurline.access.caller import ANYBODY, Caller, Scope
from blurline.access.watched import WatchedFile
from blurline.audit import ACTOR
from blurline.errors import AccessUnavailableError, SettingsError
from tests.callers import key_file
from tests.commands import Cli, check_refused

# The service's own files

FILES = {"master.key", "signing.pem", "signing.pub.pem", "api.keys"}


def test_the_files_of_keys_are_made_once_and_for_their_owner_alone(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    end = cli("keys", "init")
    assert end.code == 0
    folder = tmp_path / "keys"
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(made) == FILES
    assert [line.split()[0] for line in end.out.splitlines()] == [
        "master.key",
        "signing.pem",
        "signing.pub.pem",
        "api.keys",
    ]
    for name in ("master.key", "signing.pem", "api.keys"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert cli("keys", "init").code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_files_of_keys_can_be_given_to_who_runs_the_service(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    for _ in range(2):
        assert cli("keys", "init", "--owner", "10001").code == 0
    folder = tmp_path / "keys"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {name: 0o644 if name == "signing.pub.pem" else 0o600 for name in FILES}
    assert {path.stat().st_uid for path in (folder, *folder.iterdir())} == {10001}
    # Others may take the public key, and see no list.
    assert stat.S_IMODE(folder.stat().st_mode) == 0o711


# Making


def test_v11_5_1_keys_are_random_and_long() -> None:
    keys = {new_key("camera", ["read"])[0] for _ in range(200)}
    assert len(keys) == 200
    assert all(re.fullmatch(r"blk_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_a_new_key_is_printed_once_and_kept_as_a_hash(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "api.keys"

    end = cli("keys", "new", "camera-7", "--scopes", "read,submit", "--file", path)

    assert end.code == 0
    key = end.out.strip()
    assert key.startswith(PREFIX)
    assert key not in end.err
    assert path.read_text() == f"camera-7 submit,read {sha256(key.encode()).hexdigest()}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert find(parse_keys(path.read_bytes()), key) == Caller(
        "key-camera-7", frozenset({Scope.SUBMIT, Scope.READ})
    )


def test_a_new_key_goes_below_those_that_are_there(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = key_file(tmp_path)
    path.write_text(f"# ours\nold read {'0' * 64}")
    monkeypatch.setenv("API_KEYS_FILE", str(path))

    assert cli("keys", "new", "new", "--scopes", "admin").code == 0

    callers = parse_keys(path.read_bytes()).values()
    assert [caller.id for caller in callers] == ["key-old", "key-new"]


def test_the_line_of_a_new_key_can_be_printed_for_a_file_elsewhere(cli: Cli) -> None:
    end = cli("keys", "new", "pod", "--scopes", "read:original", "--file", "-")
    assert end.code == 0
    key, line = end.out.splitlines()
    assert find(parse_keys(line.encode()), key) == Caller(
        "key-pod", frozenset({Scope.READ_ORIGINAL})
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("Camera", "--scopes", "read", "--file", "-"),
        ("camera 7", "--scopes", "read", "--file", "-"),
        ("a" * 37, "--scopes", "read", "--file", "-"),
        ("", "--scopes", "read", "--file", "-"),
        ("camera", "--scopes", "write", "--file", "-"),
        ("camera", "--scopes", "", "--file", "-"),
        ("camera", "--scopes", "read"),
        ("camera", "--scopes", "read", "--file", "/none/api.keys"),
    ],
)
def test_a_key_that_can_not_be_made_is_one_line_on_what_is_wrong(
    cli: Cli, arguments: tuple[str, ...]
) -> None:
    check_refused(cli("keys", "new", *arguments))


def test_every_caller_can_be_named_in_the_audit_trail() -> None:
    longest = "a" * 36
    assert NAME.fullmatch(longest)
    assert ACTOR.fullmatch(f"key-{longest}")


# Reading


@pytest.mark.parametrize(
    "line",
    [
        "camera read",
        f"camera read {'0' * 63}",
        f"camera read {'G' * 64}",
        f"camera write {'0' * 64}",
        f"camera read, {'0' * 64}",
        f"Camera read {'0' * 64}",
        f"camera read {'0' * 64} more",
        f"camera read {'1' * 64}",
        "blk_something-secret",
        "\xff\xfe",
    ],
)
def test_a_line_that_is_no_key_is_refused_by_its_number(line: str) -> None:
    content = f"# keys\n\nother read {'1' * 64}\n{line}\n"
    with pytest.raises(SettingsError, match="line 4") as caught:
        parse_keys(content.encode("latin-1"))
    assert line not in caught.value.message


def test_v8_3_2_a_key_taken_out_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    (kept, kept_line), (withdrawn, line) = (new_key(name, ["read"]) for name in ("a", "b"))
    path = key_file(tmp_path, kept_line, line)
    file = WatchedFile(path, parse_keys)
    assert find(file.value(), withdrawn)

    key_file(tmp_path, kept_line)

    assert find(file.value(), withdrawn) is None
    assert find(file.value(), kept)


def test_v8_3_2_a_file_that_is_put_in_the_place_of_another_is_read(tmp_path: Path) -> None:
    """As Kubernetes and careful editors do; size and time may be the same."""
    (old, old_line), (new, new_line) = (new_key("a", ["read"]) for _ in range(2))
    path = key_file(tmp_path, old_line)
    file, before = WatchedFile(path, parse_keys), path.stat()
    other = tmp_path / "other"
    other.write_text(f"{new_line}\n")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)

    assert find(file.value(), new)
    assert find(file.value(), old) is None


def test_a_file_that_can_not_be_used_any_more_lets_nobody_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, line = new_key("a", ["read"])
    path = key_file(tmp_path, line)
    file = WatchedFile(path, parse_keys)
    path.write_text(f"{line}\nnonsense of somebody\n")

    for _ in range(3):
        with pytest.raises(AccessUnavailableError):
            file.value()
    path.unlink()
    with pytest.raises(AccessUnavailableError):
        file.value()
    key_file(tmp_path, line)

    assert find(file.value(), key)
    assert len(caplog.records) == 1
    assert "line 2" in caplog.text
    assert "nonsense" not in caplog.text


def test_a_file_that_is_missing_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"api\.keys: No such file"):
        WatchedFile(tmp_path / "api.keys", parse_keys)


# Scopes


@pytest.mark.parametrize("scope", Scope)
def test_v8_2_1_a_scope_grants_nothing_but_itself(scope: Scope) -> None:
    caller = Caller("key-a", frozenset({scope}))
    allowed = {other for other in Scope if caller.may(other)}
    assert allowed == (set(Scope) - {Scope.READ_ORIGINAL} if scope is Scope.ADMIN else {scope})


def test_v8_2_2_a_job_is_seen_by_its_owner_and_by_admins() -> None:
    owner = Caller("key-a", frozenset({Scope.READ}))
    admin = Caller("key-b", frozenset({Scope.ADMIN}))
    assert owner.sees("key-a")
    assert not owner.sees("key-b")
    assert not owner.sees(None)
    assert admin.sees("key-a")
    assert admin.sees(None)
    assert ANYBODY.sees("key-a")
    assert not Caller(None, frozenset({Scope.READ})).sees(None)


def test_whoever_is_not_asked_may_do_all_but_read_originals() -> None:
    assert {scope for scope in Scope if not ANYBODY.may(scope)} == {Scope.READ_ORIGINAL}


def test_scopes_may_have_spaces_around_them() -> None:
    assert parse_scopes([" read", "submit "]) == {Scope.READ, Scope.SUBMIT}
