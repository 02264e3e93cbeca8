"""The certificate of what came of a picture: how it is issued and how anybody checks it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field, TypeAdapter

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

Format = Literal["blurline.certificate/2"]
FORMAT: Format = "blurline.certificate/2"
EarlierFormat = Literal["blurline.certificate/1"]
EARLIER: EarlierFormat = "blurline.certificate/1"
"""A format changes when a member goes or means something else, not when one is added that may be
missing, and keeps a signature from counting for a file of another use."""


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
class RedactedPicture:
    """The claim that in a picture all was made unreadable that was looked for and found.

    Attributes:
        metadata_policy: which of the file's metadata were kept, in one word.
        path_taken: `lossless` where pixels outside the regions are those of the input, bit for bit,
            or `re-encoded`.
        second_look: result of the check of the redacted picture: `passed`, `skipped` or another
            word.
        afterwards: what was done to the redacted picture before it became the output, by names of
            pipelines; the regions are in pixels of the picture before.
    """

    metadata_policy: str
    quality: Quality
    style: Style
    regions: tuple[Region, ...]
    path_taken: str
    second_look: str
    afterwards: tuple[str, ...] = ()
    kind: Literal["redacted picture"] = "redacted picture"


@dataclass(frozen=True, slots=True)
class TransformedPicture:
    """The claim that a picture was made of another one, by these pipelines. Nothing was hidden."""

    pipelines: tuple[str, ...]
    kind: Literal["transformed picture"] = "transformed picture"


Claim = RedactedPicture | TransformedPicture


@dataclass(frozen=True, slots=True)
class CertifiedFile:
    """A file that came of a job: its name in the job, its role, and its hash in hex."""

    name: str
    role: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was done to a picture. It holds no content of it and no name of a caller's file.

    Attributes:
        time: when it was issued, by `utc_text`.
        inputs: hashes in hex of the files as they were sent. Who has such a file can tell by it
            that it is the one.
        outputs: the files that came of it, the result first.
        pipeline: names of the pipelines in their order, separated by commas.
        options: what the caller chose, but for zones, which are among the regions.
        networks: that were used, each with its hash and in what it computed.
        claim: what is certified of the outputs.
        supersedes: id of the job whose result this one takes the place of.
        blurline: version of this package.
        key_id: id of the key that signs.
    """

    job_id: str
    time: str
    inputs: tuple[str, ...]
    outputs: tuple[CertifiedFile, ...]
    pipeline: str
    options: Mapping[str, Any]
    networks: tuple[ModelUse, ...]
    claim: Annotated[Claim, Field(discriminator="kind")]
    blurline: str
    key_id: str
    supersedes: str | None = None
    format: Format = FORMAT


@dataclass(frozen=True, slots=True)
class _Earlier:
    """The format before, which knew one redacted picture and nothing else."""

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
    format: EarlierFormat = EARLIER

    def certificate(self) -> Certificate:
        """What it says, in the words of today's format."""
        return Certificate(
            job_id=self.job_id,
            time=self.time,
            inputs=(self.input_sha256,),
            outputs=(CertifiedFile("", "primary", self.output_sha256),),
            pipeline="",
            options={},
            networks=self.models,
            claim=RedactedPicture(
                self.metadata_policy,
                self.quality,
                self.style,
                self.regions,
                self.path_taken,
                self.second_look,
            ),
            blurline=self.blurline,
            key_id=self.key_id,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found, why in one sentence, and the certificate once its signature is proved."""

    finding: Finding
    reason: str
    certificate: Certificate | None = None


_CERTIFICATE = TypeAdapter(Certificate)
_EARLIER = TypeAdapter(_Earlier)


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
        picture: the file that came of the job, the result or another one.
        certificate_file: what `issue` made, byte for byte.
        public_key: a key that the caller got from the service's operator, and not with the picture.
    """
    try:
        certificate = read_signed(NAME, certificate_file, public_key, _parse)
    except NotProvedError as error:
        return Verdict(error.finding, error.message)
    if sha256(picture) not in {output.sha256 for output in certificate.outputs}:
        reason = "the picture is not the one that was certified"
        return Verdict(Finding.ALTERED, reason, certificate)
    return Verdict(Finding.VALID, "picture and certificate are as they were issued", certificate)


def _parse(content: Any) -> Certificate:
    if isinstance(content, dict) and content.get("format") == EARLIER:
        return _EARLIER.validate_python(content).certificate()
    return _CERTIFICATE.validate_python(content)
