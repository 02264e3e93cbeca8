"""What a worker does with one job: the way of an image from the store back to the store."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from blurline.certificate.certificate import issue
from blurline.certificate.signing import SigningKey
from blurline.errors import OptionError, OriginalMissingError
from blurline.imaging.trial import check_harmless
from blurline.jobs.job import JobRecord, JobSpec, completed
from blurline.jobs.results import blur_metadata, detection_metadata
from blurline.jobs.statement import statement
from blurline.stages.frame import Frame
from blurline.stages.pipeline import Pipeline
from blurline.storage import keys
from blurline.storage.store import Store
from blurline.storage.vault import OriginalsVault
from blurline.treatment.second_look import SecondLook
from blurline.treatment.treatment import Stopwatch, Treatment

JSON = "application/json"


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

    def process(self, spec: JobSpec, *, cautious: bool = False) -> Processed:
        """Fetch, treat, certify and store; the record is left to the caller.

        With `cautious` the picture is read in a process of its own first, since it may be what an
        earlier worker died of.

        The processed picture and its certificate are written before the record, so that a record
        never names a picture that is not there. Any error leaves no record, so no half-treated
        picture is ever visible.

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
        data = self.originals.get(spec.job_id, spec.kind)
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
        key = keys.processed(spec.job_id, spec.written)
        self.store.put(key, treated.picture, spec.written.content_type)
        self.store.put(keys.certificate(spec.job_id), issue(certificate, self.signing_key), JSON)
        watch.lap("store")
        width, height = treated.frame.size
        results = {
            "original_image_path": spec.original,
            "processed_image_path": key,
            "processing_time": round(watch.total, 4),
            "blur_metadata": blur_metadata(treated, spec.options),
            "detection_metadata": detection_metadata(treated.frame),
            "width": width,
            "height": height,
        }
        record = completed(spec, results, time.time())
        return Processed(record, treated.frame, watch.seconds, treated.second_look)

    def withdraw(self, spec: JobSpec) -> None:
        """Remove what `process` wrote, of a job that was deleted meanwhile."""
        self.store.delete(keys.processed(spec.job_id, spec.written))
        self.store.delete(keys.certificate(spec.job_id))
