"""API keys: made here, shown once, and kept as hashes.

A line of the file of keys holds a name, scopes and the key's sha256:

    camera-7 submit,read 5f1c…

A key has 256 random bits, so a plain hash of it is as good as a slow one would be: there is nothing
to guess. Several lines may have one name, so that a caller can change keys and keep its jobs.
"""

import re
import secrets
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from blurline.access.caller import Caller, Scope
from blurline.errors import SettingsError

PREFIX = "blk_"
"""What every key begins with, so that it is no token, and that scanners find one that leaked."""

KEY_BYTES = 32
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,35}")
DIGEST = re.compile(r"[0-9a-f]{64}")

Keys = Mapping[str, Caller]
"""Callers by the hash of their key."""


def find(keys: Keys, key: str) -> Caller | None:
    """Whose key it is, if it is one of these.

    What is compared are hashes, so how long it takes says nothing about a key.
    """
    return keys.get(_digest(key))


def parse_keys(content: bytes) -> Keys:
    """The keys of a file; empty lines and those that begin with # do not count.

    Raises:
        SettingsError: a line is none; the message has its number and nothing of it.
    """
    found: dict[str, Caller] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3 or not NAME.fullmatch(words[0]) or not DIGEST.fullmatch(words[2]):
            raise SettingsError(f"line {number} is no `name scopes sha256` of an API key")
        if words[2] in found:
            raise SettingsError(f"line {number} has the key of an earlier line")
        try:
            found[words[2]] = Caller(f"key-{words[0]}", parse_scopes(words[1].split(",")))
        except SettingsError as error:
            raise SettingsError(f"line {number}: {error.message}") from error
    return found


def parse_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes that an operator has named.

    Raises:
        SettingsError: there is none, or a word is no scope.
    """
    known = [scope.value for scope in Scope]
    given = {word.strip() for word in words}
    if not given or not given <= set(known):
        raise SettingsError(f"scopes are, comma-separated, of {', '.join(known)}")
    return frozenset(map(Scope, given))


def new_key(name: str, scopes: Iterable[str]) -> tuple[str, str]:
    """A new key, and the line by which the file of keys knows it.

    Raises:
        SettingsError: the name or a scope can't be used.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(
            "a key's name is of at most 36 lower case letters, digits and hyphens, such as camera-7"
        )
    granted = parse_scopes(scopes)
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    words = ",".join(scope.value for scope in Scope if scope in granted)
    return key, f"{name} {words} {_digest(key)}"


def add_line(path: Path, line: str) -> None:
    """Put the line at the end of the file of keys, which is made if there is none.

    Raises:
        SettingsError: the file can't be written.
    """
    try:
        path.touch(mode=0o600)
        with path.open("rb+") as file:
            content = file.read()
            file.write(b"\n" if content and not content.endswith(b"\n") else b"")
            file.write(line.encode() + b"\n")
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or 'not writable'}") from error


def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "replace")).hexdigest()
