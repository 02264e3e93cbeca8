"""What stands behind the routes, put together from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from blurline import metrics
from blurline.access.admission import open_admission
from blurline.access.rate import RateLimit
from blurline.api.access import Guard
from blurline.api.deletion import Deletion
from blurline.api.direct import Direct
from blurline.api.forms import FormReader, open_form_reader
from blurline.api.originals import OriginalDesk
from blurline.api.reports import Reports
from blurline.api.telemetry import MetricsPage, SharedCollector
from blurline.api.vitals import Vitals
from blurline.audit import AuditTrail
from blurline.certificate.signing import load_signing_key
from blurline.imaging.header import Limits, limits_of
from blurline.intake.backpressure import BackPressure
from blurline.intake.batches import Batches
from blurline.intake.deduplication import Deduplication
from blurline.intake.fingerprints import Fingerprints
from blurline.intake.intake import Intake
from blurline.jobs.records import open_records
from blurline.queue.capacity import Capacity
from blurline.queue.claims import Claims
from blurline.queue.connection import DEFAULT_URL, connect
from blurline.queue.presence import Presence
from blurline.queue.queues import Queues
from blurline.settings import Settings
from blurline.stages.defaults import default_chain, default_texts
from blurline.stages.pipeline import Pipeline
from blurline.storage.masterkeys import load_master_keys
from blurline.storage.objects import open_store
from blurline.storage.store import Store
from blurline.storage.vault import open_vault
from blurline.webhooks.outbox import open_outbox
from blurline.webhooks.rules import webhooks_of


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that routes hand their work to, in the order in which a picture meets them."""

    settings: Settings
    pipelines: Mapping[str, Pipeline]
    limits: Limits
    guard: Guard
    desk: FormReader
    intake: Intake
    batches: Batches
    direct: Direct
    reports: Reports
    store: Store
    originals: OriginalDesk
    deletion: Deletion
    vitals: Vitals
    page: MetricsPage


def open_service(settings: Settings, pipelines: Mapping[str, Pipeline]) -> Service:
    """The parts for these settings; they connect to Redis and the store on first use.

    Raises:
        SettingsError: the store or Redis can't be reached for lack of a usable setting, what
            holds for an upload that does not say can't be done, or nothing says who may come in.
    """
    admission = open_admission(settings)
    default_chain(settings, pipelines)  # so that a wrong default ends the start, not an upload
    defaults = default_texts(settings)
    webhooks_of(settings)  # so that a wrong setting ends the start, not an upload
    store, redis = open_store(settings), connect(settings.redis_url or DEFAULT_URL)
    limits = limits_of(settings)
    records, queues = open_records(settings, store), Queues(redis, settings, pipelines)
    originals, presence = open_vault(settings, store), Presence(redis, queues.first.name)
    reports = Reports(originals, records, queues)
    capacities = {name: Capacity(queue, presence) for name, queue in queues.items()}
    vitals = Vitals(store, queues, presence, pipelines, capacities, settings.max_queue_size)
    backpressure = {
        name: BackPressure(
            queue,
            capacities[name],
            settings.max_queue_size,
            settings.max_queue_seconds,
            lambda: admission.several,
        )
        for name, queue in queues.items()
    }
    for name in queues:
        metrics.expect_uploads(name)
    masters = load_master_keys(settings.master_key_file, settings.data_dir)
    fingerprints = Fingerprints(masters.derived(b"identity"), settings.content_identity)
    deduplication = Deduplication(Claims(redis, settings), records, settings.keep_results_days)
    intake = Intake(
        originals,
        queues,
        fingerprints,
        deduplication,
        backpressure,
        pipelines,
        defaults,
        limits,
    )
    key = load_signing_key(settings.signing_key, settings.data_dir)
    trail = AuditTrail(store)
    outbox = open_outbox(redis, settings)
    deletion = Deletion(store, originals, records, queues, outbox, trail, key)
    rate = RateLimit(redis, settings.rate_limit) if settings.rate_limit else None
    return Service(
        settings=settings,
        pipelines=pipelines,
        limits=limits,
        guard=Guard(admission, rate, settings.open_metrics),
        desk=open_form_reader(settings, pipelines),
        intake=intake,
        batches=Batches(intake, records, fingerprints, deduplication, backpressure),
        direct=Direct(intake, records, store, deletion, settings.blur_wait),
        reports=reports,
        store=store,
        originals=OriginalDesk(reports, records, originals, trail),
        deletion=deletion,
        vitals=vitals,
        page=MetricsPage(settings, SharedCollector(redis, vitals, presence)),
    )
