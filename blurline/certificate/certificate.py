"""The certificate of one redacted picture: how it is issued and how anybody checks it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import TypeAdapter

from blurline.certificate.signing import (
    Finding,
    NotProvedError,
    SigningKey,
    read_signed,
    signed_file,
)
from blurline.models.wheels import sha256
from blurline.redaction.styles import PixelBox, Style
from blurline.redaction.zones import Polygon
from blurline.stages.frame import Quality, Redaction

NAME = "certificate"

Format = Literal["blurline.certificate/1"]
FORMAT: Format = "blurline.certificate/1"
"""It changes when a member goes or means something else, not when one is added that may be missing,
and keeps a signature from counting for a file of another use."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A network that looked: its name, its file's sha256 in hex, by target the least confidence,
    0 to 1, of what was blurred, and in what it computed, empty in older certificates."""

    name: str
    sha256: str
    thresholds: Mapping[str, float]
    precision: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """A region that was made unreadable, in pixels of the upright picture.

    Of a zone that the caller named, only what lies inside `polygon` is unreadable. `confidence` is
    0 to 1 with four decimals, corners have one.
    """

    target: str
    box: PixelBox
    confidence: float
    polygon: Polygon | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was done to a picture. It holds no content of it and no name of a file.

    Attributes:
        time: when it was issued, by `utc_text`.
        input_sha256: hash in hex of the file as it was sent. Who has that file can tell by it that
            it is the one.
        output_sha256: hash in hex of the redacted file.
        metadata_policy: which of the file's metadata were kept, in one word.
        path_taken: `lossless` where pixels outside the regions are those of the input, bit for bit,
            or `re-encoded`.
        second_look: result of the check of the redacted picture: `passed`, `skipped` or another
            word.
        blurline: version of this package.
        key_id: id of the key that signs.
    """

    job_id: str
    time: str
    input_sha256: str
    output_sha256: str
    models: tuple[ModelUse, ...]
    metadata_policy: str
    quality: Quality
    style: Style
    regions: tuple[Region, ...]
    path_taken: str
    second_look: str
    blurline: str
    key_id: str
    format: Format = FORMAT


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found, why in one sentence, and the certificate once its signature is proved."""

    finding: Finding
    reason: str
    certificate: Certificate | None = None


_CERTIFICATE = TypeAdapter(Certificate)


def regions_of(redactions: Iterable[Redaction]) -> tuple[Region, ...]:
    """The regions of a frame's redactions, rounded as a certificate holds them."""
    return tuple(
        Region(
            found.target,
            found.box,
            round(found.confidence, 4),
            None
            if found.polygon is None
            else tuple((round(x, 1), round(y, 1)) for x, y in found.polygon),
        )
        for found in redactions
    )


def issue(certificate: Certificate, key: SigningKey) -> bytes:
    """The certificate's file, signed: see `blurline.certificate.signing`.

    Raises:
        ValueError: it names another key, or holds a number that canonical JSON can't.
    """
    content = _CERTIFICATE.dump_python(certificate, mode="json")
    return signed_file(NAME, content, key)


def verify(picture: bytes, certificate_file: bytes, public_key: Ed25519PublicKey) -> Verdict:
    """Whether the file certifies this very picture.

    Args:
        picture: the redacted picture's file.
        certificate_file: what `issue` made, byte for byte.
        public_key: a key that the caller got from the service's operator, and not with the picture.
    """
    try:
        certificate = read_signed(NAME, certificate_file, public_key, _parse)
    except NotProvedError as error:
        return Verdict(error.finding, error.message)
    if sha256(picture) != certificate.output_sha256:
        reason = "the picture is not the one that was certified"
        return Verdict(Finding.ALTERED, reason, certificate)
    return Verdict(Finding.VALID, "picture and certificate are as they were issued", certificate)


def _parse(content: Any) -> Certificate:
    return _CERTIFICATE.validate_python(content)
