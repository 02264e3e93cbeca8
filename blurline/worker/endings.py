"""How a try of a job ends for good: once in its record, in the totals, and with whoever asked."""

import logging
import time
from dataclasses import dataclass, replace

from redis import Redis

from blurline import metrics
from blurline.errors import QueueUnavailableError, TemporaryError
from blurline.jobs.job import JobError, JobRecord, JobSpec, failed
from blurline.jobs.orders import find_order, read_order
from blurline.jobs.records import Records, open_records
from blurline.jobs.results import remove_results
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.storage import keys
from blurline.storage.sealing import OriginalUnreadableError
from blurline.storage.store import Store
from blurline.storage.vault import OriginalsVault, open_vault
from blurline.webhooks.outbox import Event, Outbox, open_outbox

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Endings:
    """Sees to it that each job ends exactly once. It needs neither networks nor pixels."""

    store: Store
    originals: OriginalsVault
    records: Records
    queues: Queues
    outbox: Outbox

    def commit(self, record: JobRecord) -> bool:
        """Make the record the job's end; False if it had ended before.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        won = self.records.commit(record)
        if won:
            whose = self.queues.labels(record.pipeline)
            labels = (*whose, record.status.value)
            metrics.JOBS.labels(*labels).inc()
            seconds = max(0.0, record.updated_at - record.submitted_at)
            metrics.JOB_SECONDS.labels(*labels).observe(seconds)
            if record.error:
                metrics.JOB_FAILURES.labels(*whose, record.error.code).inc()
            why = f" ({record.error.code})" if record.error else ""
            log.info("job %s: %s%s", record.job_id, record.status, why)
        return won

    def tell(self, record: JobRecord) -> None:
        """Count the job's end, and have it reported to where its caller said, if anywhere.

        Both happen once, however often the same end is told.

        Raises:
            QueueUnavailableError: Redis is away; the job's next try tells it.
        """
        self.queues.of(record.pipeline).stats.record(record)
        event = self.outbox.event_of(record)
        if event is not None and not self.outbox.add(event):
            metrics.WEBHOOKS.labels("dropped").inc()
            log.warning("job %s: its end is not reported, too many wait for that", record.job_id)

    def fail(self, spec: JobSpec, error: JobError) -> None:
        """Commit that the job has failed, as far as Redis and the store allow."""
        record = self.outbox.addressed(failed(spec, error, time.time()), spec)
        try:
            won = self.commit(record)
            found = record if won else self.records.find(spec.job_id)
            if won:
                # An earlier try may have written a result, which is nobody's now.
                self.withdraw(spec.job_id)
            self.originals.job_ended(spec.job_id, spec.kind)
            if found is not None:
                self.tell(found)
        except QueueUnavailableError:
            log.warning("job %s: failed, which could not be counted or reported", spec.job_id)
        except TemporaryError:
            log.warning("job %s: failed, and its record could not be written", spec.job_id)

    def give_up(self, job_id: str, error: JobError) -> None:
        """As `fail`, of a job of which only the id is known; rq keeps it in any case."""
        try:
            order = read_order(self.originals, job_id)
            if order is not None:
                self.fail(order.spec, error)
            elif (record := self.records.find(job_id)) is not None:
                self.tell(record)
        except TemporaryError:
            log.warning("job %s: failed, and its record could not be written", job_id)
        except OriginalUnreadableError:
            log.warning("job %s: failed, and what was ordered can't be read", job_id)

    def end_of(self, job_id: str) -> Event | None:
        """What its caller has to be told of the job's end, by its order and its record alone.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        spec, record = find_order(self.originals, job_id), self.records.find(job_id)
        if spec is None or record is None:
            return None
        record = replace(record, owner=spec.owner)
        return self.outbox.event_of(self.outbox.addressed(record, spec))

    def withdraw(self, job_id: str, slot: str = "") -> None:
        """Remove the results and the certificate of that slot, which no record names.

        Raises:
            StoreUnavailableError: the store does not answer.
        """
        remove_results(self.store, job_id, slot)
        self.store.delete(keys.certificate(job_id, slot))


def open_endings(settings: Settings, redis: Redis, store: Store, queues: Queues) -> Endings:
    """What ends jobs of these settings.

    Raises:
        SettingsError: the file of master keys can't be used.
    """
    originals, records = open_vault(settings, store), open_records(settings, store)
    return Endings(store, originals, records, queues, open_outbox(redis, settings))
