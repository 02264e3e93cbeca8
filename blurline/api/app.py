"""The FastAPI application: what every request goes through, and the routes."""

from collections.abc import Mapping

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from blurline import __version__
from blurline.api.docs import install_docs
from blurline.api.door import Door, Visitors
from blurline.api.download import CONDITIONS, DESCRIBING
from blurline.api.envelope import REQUEST_ID, Envelope, LastResort
from blurline.api.errors import install_error_handlers
from blurline.api.heads import answer_heads
from blurline.api.idempotency import HEADER, REPLAYED
from blurline.api.openapi import describe_errors_in_our_shape
from blurline.api.routes.direct import install_direct
from blurline.api.routes.jobs import install_jobs
from blurline.api.routes.uploads import install_uploads
from blurline.api.routes.vitals import install_vitals
from blurline.api.service import open_service
from blurline.api.telemetry import RequestMetrics, traced_life
from blurline.settings import Settings
from blurline.stages.pipeline import Pipeline


def create_app(settings: Settings, pipelines: Mapping[str, Pipeline]) -> FastAPI:
    """The service for these settings; it connects to Redis and the store on first use.

    Raises:
        SettingsError: what `open_service` raises.
    """
    service = open_service(settings, pipelines)
    app = FastAPI(
        title="blurline",
        version=__version__,
        summary="Blurs faces and number plates in pictures, then lists the objects that are left.",
        description="Upload pictures, ask how they go, fetch the blurred ones. Every error has "
        'the shape `{"error": {"code", "message"}}`, and HEAD is answered as GET is.',
        lifespan=traced_life,
        docs_url=None,
        redoc_url=None,
    )
    app.state.guard = service.guard
    # The last one is the outermost.
    app.add_middleware(LastResort)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "HEAD", "POST", "DELETE"),
            allow_headers=("Authorization", "Range", REQUEST_ID, HEADER, *CONDITIONS),
            expose_headers=("Retry-After", REQUEST_ID, REPLAYED, *DESCRIBING),
        )
    hosts = frozenset(settings.hosts)
    visitors = Visitors(service.guard.admission, hosts, tuple(map(str.lower, settings.origins)))
    app.add_middleware(Door, visitors=visitors)
    app.add_middleware(RequestMetrics)
    app.add_middleware(Envelope)
    install_error_handlers(app)
    install_docs(app)
    install_uploads(app, service)
    install_jobs(app, service)
    install_direct(app, service)
    install_vitals(app, service)
    answer_heads(app)
    describe_errors_in_our_shape(app)
    return app
