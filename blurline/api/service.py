"""What stands behind the routes, put together from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from blurline.access.admission import open_admission
from blurline.access.rate import RateLimit
from blurline.api.access import Guard
from blurline.api.batches import Batches
from blurline.api.deletion import Deletion
from blurline.api.direct import Direct
from blurline.api.earlier import Earlier
from blurline.api.forms import Desk, open_desk
from blurline.api.identity import Identity
from blurline.api.intake import Intake
from blurline.api.originals import OriginalDesk
from blurline.api.places import Places
from blurline.api.reports import Reports
from blurline.api.telemetry import Page, SharedCollector
from blurline.api.vitals import Vitals
from blurline.audit import AuditTrail
from blurline.certificate.signing import load_signing_key
from blurline.imaging.header import Limits, limits_of
from blurline.jobs.callback import webhooks_of
from blurline.jobs.records import open_records
from blurline.queue.claims import Claims
from blurline.queue.connection import DEFAULT_URL, connect
from blurline.queue.jobqueue import JobQueue
from blurline.queue.presence import Presence
from blurline.queue.stats import Stats
from blurline.settings import Settings
from blurline.stages.options import default_pipeline, default_text
from blurline.stages.pipeline import Pipeline
from blurline.storage.masterkeys import load_master_keys
from blurline.storage.objects import open_store
from blurline.storage.store import Store
from blurline.storage.vault import open_vault


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that routes hand their work to, in the order in which a picture meets them."""

    settings: Settings
    pipelines: Mapping[str, Pipeline]
    limits: Limits
    guard: Guard
    desk: Desk
    intake: Intake
    batches: Batches
    direct: Direct
    reports: Reports
    store: Store
    originals: OriginalDesk
    deletion: Deletion
    vitals: Vitals
    page: Page


def open_service(settings: Settings, pipelines: Mapping[str, Pipeline]) -> Service:
    """The parts for these settings; they connect to Redis and the store on first use.

    Raises:
        SettingsError: the store or Redis can't be reached for lack of a usable setting, what
            holds for an upload that does not say can't be done, or nothing says who may come in.
    """
    admission = open_admission(settings)
    defaults = default_text(settings, default_pipeline(settings, pipelines).targets)
    webhooks_of(settings)  # so that a wrong setting ends the start, not an upload
    store, redis = open_store(settings), connect(settings.redis_url or DEFAULT_URL)
    limits = limits_of(settings)
    records, queue = open_records(settings, store), JobQueue(redis, settings)
    stats, presence = Stats(redis), Presence(redis)
    originals, capacity = open_vault(settings, store), settings.max_queue_size
    reports = Reports(originals, records, queue)
    vitals = Vitals(store, queue, stats, presence, pipelines, capacity)
    places = Places(queue, vitals, capacity, settings.max_queue_seconds, lambda: admission.several)
    masters = load_master_keys(settings.master_key_file, settings.data_dir)
    identity = Identity(masters.derived(b"identity"), settings.content_identity)
    earlier = Earlier(Claims(redis, settings), places, records, settings.keep_results_days)
    intake = Intake(
        originals, queue, identity, earlier, places, vitals, pipelines, defaults, limits
    )
    key = load_signing_key(settings.signing_key, settings.data_dir)
    trail = AuditTrail(store)
    deletion = Deletion(store, originals, records, queue, trail, key)
    rate = RateLimit(redis, settings.rate_limit) if settings.rate_limit else None
    return Service(
        settings=settings,
        pipelines=pipelines,
        limits=limits,
        guard=Guard(admission, rate, settings.open_metrics),
        desk=open_desk(settings),
        intake=intake,
        batches=Batches(intake, records, identity, earlier, places),
        direct=Direct(intake, places, records, store, deletion, settings.blur_wait),
        reports=reports,
        store=store,
        originals=OriginalDesk(reports, records, originals, trail),
        deletion=deletion,
        vitals=vitals,
        page=Page(settings, SharedCollector(redis, vitals, stats, presence)),
    )
