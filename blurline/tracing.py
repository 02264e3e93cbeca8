"""Traces by OpenTelemetry, from the upload of a picture to its stored result.

Off, as they are without `TRACES_URL`, nothing of OpenTelemetry is imported here and each call
returns at once. Spans hold ids of jobs and requests, routes, codes and times. They hold no file
names, options or addresses, and of an exception its code or class, never its message.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from blurline import __version__
from blurline.errors import SettingsError
from blurline.settings import Settings

SEND_SECONDS = 3
"""How long one batch of spans is tried, and so how long a receiver that is away holds up the end of
a process."""

_provider: Any = None
_tracer: Any = None

_OFF: AbstractContextManager[None] = nullcontext()


def start(settings: Settings, service: str) -> None:
    """Trace this process from now on, if the settings say where to; `service` is its name.

    Raises:
        SettingsError: the extra `otel` is not installed.
    """
    global _provider, _tracer
    if settings.traces_url is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SettingsError(
            "TRACES_URL needs the extra otel: pip install 'blurline[otel]'"
        ) from error
    resource = Resource.create({"service.name": service, "service.version": __version__})
    _provider = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(settings.traces_url, timeout=SEND_SECONDS)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    # Its warnings hold the receiver's whole URL; its errors say in the end that spans were dropped.
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    _tracer = _provider.get_tracer("blurline", __version__)


def stop() -> None:
    """Send what has not been sent yet, and trace no more."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None


def span(name: str, **attributes: str | int) -> AbstractContextManager[None]:
    """A span around what happens inside, within the one that is current."""
    return _OFF if _tracer is None else _span(name, attributes)


def lap(name: str, seconds: float) -> None:
    """A span that has just ended and took so long, within the one that is current."""
    if _tracer is not None:
        now = time.time_ns()
        _tracer.start_span(name, start_time=now - int(seconds * 1e9)).end(now)


def note(name: str, **attributes: str | int) -> None:
    """Call the current span so, and add attributes to it."""
    if _tracer is not None:
        from opentelemetry import trace

        current = trace.get_current_span()
        current.update_name(name)
        current.set_attributes(attributes)


def context() -> str:
    """The current span as a `traceparent` (W3C Trace Context), empty where there is none."""
    if _tracer is None:
        return ""
    from opentelemetry import trace

    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return ""
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"


def continued(parent: str) -> AbstractContextManager[None]:
    """Have spans inside belong to the span that `context` told of, if it is one."""
    return _OFF if _tracer is None or not parent else _continued(parent)


@contextmanager
def _span(name: str, attributes: dict[str, str | int]) -> Iterator[None]:
    from opentelemetry.trace import StatusCode

    # OpenTelemetry's own way with exceptions would keep their messages.
    with _tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield
        except Exception as error:
            current.set_attribute("error.type", getattr(error, "code", type(error).__name__))
            current.set_status(StatusCode.ERROR)
            raise


@contextmanager
def _continued(parent: str) -> Iterator[None]:
    from opentelemetry import context as contexts
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    token = contexts.attach(TraceContextTextMapPropagator().extract({"traceparent": parent}))
    try:
        yield
    finally:
        contexts.detach(token)
