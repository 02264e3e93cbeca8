"""Routes of the service itself: its figures, its queue, its health."""

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

from blurline.api.access import Reader, Watcher
from blurline.api.offer import pipelines_answer
from blurline.api.openapi import guarded
from blurline.api.schemas import HealthAnswer, PipelinesAnswer, QueueAnswer, StatsAnswer
from blurline.api.service import Service


def install_vitals(app: FastAPI, service: Service) -> None:
    """Serve `/stats`, `/queue-status`, `/health` and `/metrics`."""

    @app.get("/stats", tags=["service"], summary="The service in figures", responses=guarded())
    def stats_route(caller: Reader) -> StatsAnswer:
        return service.vitals.stats()

    @app.get("/queue-status", tags=["service"], summary="What waits and runs", responses=guarded())
    def queue_status(caller: Reader) -> QueueAnswer:
        return service.vitals.queue()

    @app.get(
        "/pipelines",
        tags=["service"],
        summary="What a picture can be sent through, and what may be chosen of each",
        responses=guarded(),
    )
    def pipelines(caller: Reader) -> PipelinesAnswer:
        return pipelines_answer(service.settings, service.pipelines, service.intake.backpressure)

    @app.get(
        "/health",
        tags=["service"],
        summary="Whether everything that the service needs is there",
        responses={503: {"model": HealthAnswer, "description": "Redis or the store is away"}},
    )
    def health(response: Response) -> HealthAnswer:
        answer = service.vitals.health()
        response.status_code = 503 if answer.status == "down" else 200
        return answer

    @app.get(
        "/metrics",
        tags=["service"],
        summary="Prometheus metrics",
        response_class=Response,
        responses=guarded(),
    )
    def prometheus(caller: Watcher) -> Response:
        return Response(service.page.text(), media_type=CONTENT_TYPE_LATEST)
