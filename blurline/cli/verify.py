"""`blurline verify`: whether a certificate belongs to a picture."""

from pathlib import Path
from typing import Annotated

import typer

from blurline.certificate.certificate import verify as verify_certificate
from blurline.certificate.signing import (
    Finding,
    NotProvedError,
    load_public_key,
    public_key_place,
)
from blurline.errors import OptionError
from blurline.settings import load_settings


def verify(
    picture: Annotated[Path, typer.Argument(help="The blurred picture.")],
    certificate: Annotated[Path, typer.Argument(help="Its certificate, as it was fetched.")],
    key: Annotated[
        Path | None,
        typer.Option(help="Public key of the service, a PEM file. Default: the data folder's own."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Data folder of the service, whose key is taken.")
    ] = None,
) -> None:
    """Check that a picture is the one that its certificate names, and that neither was changed.

    Prints one line. Exit status 0: valid; 1: altered, or signed by another key; 2: there is nothing
    that could be checked. Get the public key from whoever runs the service, never with the picture.

        blurline verify blurred.jpg certificate.json --key pub.pem
    """
    if key is not None and data_dir is not None:
        raise OptionError("--key and --data-dir both name a key: give one of them")
    # Settings may be wrong or for another service where a key is named, and are not asked then.
    place = key or public_key_place(load_settings(data_dir=data_dir).data_dir)
    public = load_public_key(place)
    verdict = verify_certificate(_content(picture), _content(certificate), public)
    if verdict.finding is Finding.MALFORMED:
        raise NotProvedError(verdict.finding, f"{certificate}: {verdict.reason}")
    line = f"{verdict.finding.value.replace('_', ' ')}: {verdict.reason}"
    if verdict.finding is not Finding.VALID or verdict.certificate is None:
        typer.echo(line)
        raise typer.Exit(1)
    issued = verdict.certificate
    typer.echo(f"{line} (job {issued.job_id}, {issued.time}, key {issued.key_id})")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OptionError(f"{path}: {error.strerror or 'not readable'}") from error
