"""What a worker does with one job: the way of an image from the store back to the store."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex

from blurline.certificate.certificate import issue
from blurline.certificate.signing import SigningKey
from blurline.errors import OptionError, OriginalMissingError, StoreUnavailableError
from blurline.imaging.trial import check_harmless
from blurline.jobs.job import JobRecord, JobSpec, completed
from blurline.stages.frame import Frame
from blurline.stages.pipeline import Pipeline
from blurline.storage import keys
from blurline.storage.store import Store
from blurline.storage.vault import JobFile, OriginalsVault
from blurline.treatment.report import blur_metadata, detection_metadata
from blurline.treatment.second_look import SecondLook
from blurline.treatment.statement import statement
from blurline.treatment.treatment import Stopwatch, Treatment

JSON = "application/json"
SLOT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Processed:
    """A picture that is done: the record to commit, the frame, wall-clock seconds a stage, and how
    the picture was checked."""

    record: JobRecord
    frame: Frame
    seconds: Mapping[str, float]
    second_look: SecondLook


@dataclass(frozen=True, slots=True)
class Processor:
    """Treats pictures with networks that are loaded once. One serves all threads of a worker."""

    store: Store
    originals: OriginalsVault
    pipelines: Mapping[str, Pipeline]
    treatment: Treatment
    signing_key: SigningKey

    def process(
        self, spec: JobSpec, *, cautious: bool = False, file: JobFile | None = None
    ) -> Processed:
        """Fetch, treat, certify and store; the record is left to the caller.

        With `cautious` the picture is read in a process of its own first, since it may be what an
        earlier worker died of. `file` is the one beside the original, if it was read already.

        The processed picture and its certificate are written before the record, so that a record
        never names a picture that is not there. Any error leaves no record, so no half-treated
        picture is ever visible. Nothing that is there is written over: it may be the result of
        somebody who commits it at this moment.

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
            check_harmless(data, self.treatment.limits)
            watch.lap("trial")
        pipeline = self.pipelines.get(spec.pipeline)
        if pipeline is None:
            raise OptionError("this worker knows no pipeline of the name that the job asks for")
        treated = self.treatment.treat(data, pipeline, spec.options)
        watch.skip(treated.seconds)
        certificate = statement(
            spec.job_id,
            data,
            treated,
            pipeline,
            spec.options,
            self.treatment.detectors,
            self.signing_key,
        )
        slot = self._keep(spec, treated.picture, issue(certificate, self.signing_key))
        watch.lap("store")
        width, height = treated.frame.size
        results = {
            "original_image_path": spec.original,
            "processed_image_path": keys.processed(spec.job_id, spec.written, slot),
            "processing_time": round(watch.total, 4),
            "blur_metadata": blur_metadata(treated, spec.options),
            "detection_metadata": detection_metadata(treated.frame),
            "width": width,
            "height": height,
        }
        sha256 = certificate.output_sha256
        record = completed(spec, results, time.time(), slot=slot, output_sha256=sha256)
        return Processed(record, treated.frame, watch.seconds, treated.second_look)

    def withdraw(self, spec: JobSpec, slot: str = "") -> None:
        """Remove the picture and the certificate of that slot, which no record names."""
        self.store.delete(keys.processed(spec.job_id, spec.written, slot))
        self.store.delete(keys.certificate(spec.job_id, slot))

    def _keep(self, spec: JobSpec, picture: bytes, certificate: bytes) -> str:
        """Write both under names that nothing has; the slot in these names.

        Names of an earlier try are left alone: whoever made them may be about to commit them.
        """
        name, kind = keys.processed(spec.job_id, spec.written), spec.written.content_type
        if self.store.create(name, picture, kind):
            if self.store.create(keys.certificate(spec.job_id), certificate, JSON):
                return ""
            self.store.delete(name)
        slot = token_hex(SLOT_BYTES)
        own = {
            keys.processed(spec.job_id, spec.written, slot): (picture, kind),
            keys.certificate(spec.job_id, slot): (certificate, JSON),
        }
        for name, (data, content_type) in own.items():
            # Nobody else has these names. Should one be there all the same, an answer was lost.
            if not self.store.create(name, data, content_type) and self.store.get(name) != data:
                raise StoreUnavailableError("the result could not be kept")
        return slot
