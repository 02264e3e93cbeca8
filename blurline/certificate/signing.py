"""Signatures by Ed25519 (RFC 8032), and the signed files that are made with them.

A signed file is one JSON object: what is signed under a name of its own, the id of the key, and
the signature in base64 over the canonical JSON of the former. The file is canonical itself, so for
what was signed there is one file and no other. It does not carry the public key: a key from the
very file that is to be proved would prove nothing.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from blurline.certificate import keyfile
from blurline.certificate.canonical import canonical
from blurline.errors import BlurlineError, OptionError, SettingsError
from blurline.files import write_whole

T = TypeVar("T")


class Finding(StrEnum):
    """What became of a check. Only `VALID` proves anything."""

    VALID = "valid"
    ALTERED = "altered"
    WRONG_KEY = "wrong_key"
    MALFORMED = "malformed"


class NotProvedError(BlurlineError):
    """A signed file proves nothing; `finding` says of what kind the reason is."""

    def __init__(self, finding: Finding, message: str) -> None:
        super().__init__(message, code=finding.value)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private half of a key pair. Its text does not show the secret."""

    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def from_pem(cls, pem: bytes) -> "SigningKey":
        """The key in a PEM file (PKCS 8) without a password.

        Raises:
            SettingsError: there is no such key in it.
        """
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise SettingsError(
                "the signing key is no Ed25519 private key in PEM without a password: "
                "`openssl genpkey -algorithm ed25519` makes one"
            )
        return cls(private)

    @property
    def public(self) -> Ed25519PublicKey:
        """The half that checks signatures; everybody may have it."""
        return self.private.public_key()

    @property
    def key_id(self) -> str:
        """See `key_id_of`."""
        return key_id_of(self.public)


def key_id_of(public: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the sha256 of the 32 bytes of the public key (RFC 8032, 5.1.5)."""
    return sha256(public.public_bytes_raw()).hexdigest()[:16]


def load_signing_key(path: Path | None, data_dir: Path) -> SigningKey:
    """The key in the file at `path`, or without one the key of the data folder.

    The latter is made at the first call, as `keys/signing.pem`, with its public half beside it.
    Workers on several machines have no common data folder: they need a common file at `path`.

    Raises:
        SettingsError: the file can't be used.
    """
    if path is not None:
        return SigningKey.from_pem(keyfile.read_key(path))
    place = data_dir / keyfile.FOLDER / "signing.pem"
    key = SigningKey.from_pem(keyfile.made_once(place, _new_key))
    _publish(key, public_key_place(data_dir))
    return key


def public_key_place(data_dir: Path) -> Path:
    """Where `load_signing_key` puts the public half of the data folder's own key."""
    return data_dir / keyfile.FOLDER / "signing.pub.pem"


def public_pem(public: Ed25519PublicKey) -> bytes:
    """The public key as a PEM file (SubjectPublicKeyInfo, RFC 8410)."""
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_public_key(path: Path) -> Ed25519PublicKey:
    """The public key in a PEM file.

    Raises:
        OptionError: the file can't be read or holds no such key.
    """
    try:
        public = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror or 'not readable'}") from error
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, Ed25519PublicKey):
        raise OptionError(f"{path} holds no Ed25519 public key in PEM")
    return public


def signed_file(name: str, content: dict[str, Any], key: SigningKey) -> bytes:
    """The signed file of `content`, which stands in it under `name`.

    Raises:
        ValueError: `content["key_id"]` is another key's, or canonical JSON can't hold a value.
    """
    if content["key_id"] != key.key_id:
        raise ValueError("what is to be signed names another key")
    return _assembled(name, content, key.private.sign(canonical(content)))


def read_signed(name: str, file: bytes, public: Ed25519PublicKey, parse: Callable[[Any], T]) -> T:
    """What stands in the file under `name`, once it is sure that the key's owner has signed it.

    Args:
        public: the key that the caller trusts, from anywhere but from the file.
        parse: makes the result of the checked JSON object; it raises ValueError if it can't.

    Raises:
        NotProvedError: `MALFORMED` if it is no such file, `WRONG_KEY` if it names another key,
            `ALTERED` if it is not, byte for byte, what was signed.
    """
    try:
        envelope = json.loads(file)
        content, signature = envelope[name], b64decode(envelope["signature"], validate=True)
        named, message = content["key_id"], canonical(content)
        assembled = _assembled(name, content, signature)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise NotProvedError(Finding.MALFORMED, f"the file is no signed {name}") from None
    if named != key_id_of(public):
        raise NotProvedError(Finding.WRONG_KEY, f"another key than this one signed the {name}")
    try:
        public.verify(signature, message)
    except InvalidSignature:
        raise NotProvedError(Finding.ALTERED, f"the {name} is not what was signed") from None
    if file != assembled:
        raise NotProvedError(Finding.ALTERED, f"the {name}'s file was changed")
    try:
        return parse(content)
    except ValueError:
        raise NotProvedError(
            Finding.MALFORMED, f"the {name} is of a format that this version does not know"
        ) from None


def _assembled(name: str, content: dict[str, Any], signature: bytes) -> bytes:
    return canonical(
        {
            name: content,
            "key_id": content["key_id"],
            "signature": b64encode(signature).decode(),
        }
    )


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


def _publish(key: SigningKey, place: Path) -> None:
    pem = public_pem(key.public)
    try:
        if not place.is_file() or place.read_bytes() != pem:
            write_whole(place, pem)
    except OSError as error:
        reason = error.strerror or "not usable"
        raise SettingsError(f"the key file {place}: {reason}") from error
