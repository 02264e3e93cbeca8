"""What a worker does with one job: the way of an image from the store back to the store."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any

from blurline import __version__
from blurline.certificate.canonical import utc_text
from blurline.certificate.certificate import Certificate, CertifiedFile, issue
from blurline.certificate.signing import SigningKey
from blurline.errors import OptionError, OriginalMissingError, StoreUnavailableError
from blurline.imaging.header import Limits, read_header
from blurline.imaging.trial import check_harmless
from blurline.jobs.job import JobRecord, JobSpec, Result, completed
from blurline.jobs.results import key_of
from blurline.models.wheels import sha256
from blurline.stages.optiontable import Values
from blurline.stages.pipeline import Pipeline, chain_of
from blurline.storage import keys
from blurline.storage.store import Store
from blurline.storage.vault import JobFile, OriginalsVault
from blurline.treatment.outputs import Context, Source, Stopwatch, Treated, Treating

JSON = "application/json"
SLOT_BYTES = 8

DECIMALS = 4
"""Of numbers among a certificate's options."""


@dataclass(frozen=True, slots=True)
class Processed:
    """A job that is done: the record to commit, what came of it, and wall-clock seconds a stage."""

    record: JobRecord
    treated: Treated
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Processor:
    """Has jobs treated, and keeps what comes of them. One serves all threads of a worker."""

    store: Store
    originals: OriginalsVault
    pipelines: Mapping[str, Pipeline]
    treatment: Treating
    limits: Limits
    signing_key: SigningKey

    def process(
        self, spec: JobSpec, *, cautious: bool = False, file: JobFile | None = None
    ) -> Processed:
        """Fetch, treat, certify and store; the record is left to the caller.

        With `cautious` the picture is read in a process of its own first, since it may be what an
        earlier worker died of. `file` is the one beside the original, if it was read already.

        The results and their certificate are written before the record, so that a record never
        names a file that is not there. Any error leaves no record, so no half-treated picture is
        ever visible. Nothing that is there is written over: it may be the result of somebody who
        commits it at this moment.

        Raises:
            PictureError: the picture can't be read; trying again would not help.
            OptionError: the job asks for what this worker does not have, networks included.
            OriginalMissingError: the original is gone.
            OriginalUnreadableError: the original can't be decrypted.
            LeakSuspectedError: the redacted picture did not stand the second look.
            StoreUnavailableError: worth another try.
            BlurlineError: `not_redacted`, the pipeline would have let the picture through as it is.
        """
        watch = Stopwatch()
        data = self.originals.get(spec.job_id, spec.kind, file)
        if data is None:
            raise OriginalMissingError("the original picture is not in the store any more")
        watch.lap("fetch")
        if cautious:
            check_harmless(data, self.limits)
            watch.lap("trial")
        try:
            chain = chain_of(self.pipelines, spec.pipeline)
        except OptionError:
            raise OptionError(
                "this worker knows no pipeline of the name that the job asks for"
            ) from None
        source = Source(data, read_header(data, self.limits))
        treated = self.treatment.treat(source, chain, spec.options, Context())
        watch.skip(treated.seconds)
        slot = self._keep(spec, treated, self._certificate(spec, data, treated))
        watch.lap("store")
        record = completed(
            spec,
            time.time(),
            outputs=tuple(
                Result(
                    key_of(spec.job_id, output, slot),
                    output.name,
                    output.role,
                    output.media_type,
                    output.width,
                    output.height,
                    len(output.data),
                    output.sha256,
                )
                for output in treated.outputs
            ),
            reports=treated.reports,
            tally=treated.tally,
            seconds=round(watch.total, 4),
            slot=slot,
        )
        return Processed(record, treated, watch.seconds)

    def _certificate(self, spec: JobSpec, data: bytes, treated: Treated) -> bytes:
        certificate = Certificate(
            job_id=spec.job_id,
            time=utc_text(datetime.now(UTC)),
            inputs=(sha256(data),),
            outputs=tuple(
                CertifiedFile(output.name, output.role.value, output.sha256)
                for output in treated.outputs
            ),
            pipeline=spec.pipeline,
            options=_told(spec.options),
            networks=treated.networks,
            claim=treated.claim,
            blurline=__version__,
            key_id=self.signing_key.key_id,
            supersedes=spec.parent,
        )
        return issue(certificate, self.signing_key)

    def _keep(self, spec: JobSpec, treated: Treated, certificate: bytes) -> str:
        """Write all under names that nothing has; the slot in these names.

        Names of an earlier try are left alone: whoever made them may be about to commit them.
        """
        if self._create(spec, treated, certificate, ""):
            return ""
        slot = token_hex(SLOT_BYTES)
        if not self._create(spec, treated, certificate, slot):
            raise StoreUnavailableError("the result could not be kept")
        return slot

    def _create(self, spec: JobSpec, treated: Treated, certificate: bytes, slot: str) -> bool:
        """Whether all could be written with that slot; if not, nothing of it stays."""
        files = {
            key_of(spec.job_id, output, slot): (output.data, output.media_type)
            for output in treated.outputs
        }
        files[keys.certificate(spec.job_id, slot)] = certificate, JSON
        made: list[str] = []
        for name, (content, media_type) in files.items():
            # Nobody else has a slot's names. Should one be there all the same, an answer was lost.
            if not self.store.create(name, content, media_type) and not (
                slot and self.store.get(name) == content
            ):
                for one in made:
                    self.store.delete(one)
                return False
            made.append(name)
        return True


def _told(options: Values) -> dict[str, Any]:
    """The options as a certificate tells them: without zones, which are among its regions."""
    return {name: _rounded(value) for name, value in options.items() if not name.endswith("_zones")}


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
