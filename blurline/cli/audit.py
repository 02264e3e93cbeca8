"""`blurline audit verify`: whether the trail of deletions is whole, and holds what receipts say."""

from pathlib import Path
from typing import Annotated

import typer

from blurline.audit import AuditTrail, DeletionReceipt, Inspection, read_receipt
from blurline.certificate.signing import (
    Finding,
    NotProvedError,
    load_public_key,
    public_key_place,
)
from blurline.cli.store import store_of
from blurline.errors import OptionError
from blurline.settings import Settings, load_settings

audit_app = typer.Typer(help="The trail of deletions.", no_args_is_help=True)

Receipts = dict[Path, DeletionReceipt]


@audit_app.callback()
def audit() -> None:
    """Keeps `verify` a word of its own, as others will join it."""


@audit_app.command("verify")
def verify_trail(
    receipt: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Receipt of a deletion that has to be in it; may be given again."
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Public key that signed the receipts, a PEM file. Default: the data folder's own."
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data folder of the service.")] = None,
) -> None:
    """Read the whole trail in the store and check that no line was changed, removed or put in.

    The trail alone can't show that its end is cut off or that all of it was written anew; receipts
    can. Prints one line for each finding. Exit status 0: valid; 1: broken, a receipt's line is
    missing, or a receipt is not what the key signed; 2: there is nothing that could be checked.

        blurline audit verify --receipt receipt.json --key pub.pem
    """
    settings = load_settings(data_dir=data_dir)
    proved, findings = _receipts(receipt or [], key, settings)
    hashes = {one.audit for one in proved.values() if one.audit}
    inspection = AuditTrail(store_of(settings)).inspect(hashes)
    if not inspection.lines and not _broken(inspection) and not receipt:
        raise OptionError("there is no trail in this store: nothing was deleted yet")
    findings += _broken(inspection) + _missing(inspection, proved)
    for line in findings:
        typer.echo(line)
    if findings:
        raise typer.Exit(1)
    named = ", those that the receipts name among them" if proved else ""
    typer.echo(f"valid: {inspection.lines} lines follow from each other{named}")


def _receipts(
    files: list[Path], key: Path | None, settings: Settings
) -> tuple[Receipts, list[str]]:
    """The receipts whose signature is proved, and a line for each that is not what was signed.

    Raises:
        OptionError: a file or the key can't be read.
        NotProvedError: a file is no receipt.
    """
    proved: Receipts = {}
    findings: list[str] = []
    if not files:
        return proved, findings
    public = load_public_key(key or public_key_place(settings.data_dir))
    for file in files:
        try:
            proved[file] = read_receipt(file.read_bytes(), public)
        except OSError as error:
            raise OptionError(f"{file}: {error.strerror or 'not readable'}") from error
        except NotProvedError as error:
            line = f"{file}: {error.message}"
            if error.finding is Finding.MALFORMED:
                raise NotProvedError(error.finding, line) from None
            findings.append(f"{error.finding.value.replace('_', ' ')}: {line}")
    return proved, findings


def _broken(inspection: Inspection) -> list[str]:
    findings = []
    if inspection.broken_at is not None:
        findings.append(
            f"broken: object {inspection.broken_at} of the trail is missing, does not follow from "
            f"the one before it, or holds more than lines; {inspection.lines} lines before it do"
        )
    if inspection.foreign:
        findings.append(
            f"foreign: {inspection.foreign} objects look like the trail's and are none of it"
        )
    return findings


def _missing(inspection: Inspection, receipts: Receipts) -> list[str]:
    where = " before the break" if inspection.broken_at is not None else ""
    return [
        f"missing: the line that {file} names (job {receipt.job_id}, {receipt.time}) is not in "
        f"the trail{where}"
        for file, receipt in receipts.items()
        if receipt.audit in inspection.unknown
    ]
