"""Traces: each request is a span of its caller's trace. OpenTelemetry where it is installed and told where to send.

The caller's `traceparent` header names the trace (W3C Trace Context). Without the `cluster` extra or without
`OTEL_EXPORTER_OTLP_ENDPOINT` no span is made, and the trace's id still stands in the log.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.contracts.errors import BadUsage

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Tracing:
    """Makes spans for one service.

    Args:
        tracer: OpenTelemetry's; None where no spans are made.
    """

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    @classmethod
    def start(cls, service: str) -> "Tracing":
        """Spans go where `OTEL_EXPORTER_OTLP_ENDPOINT` says; nowhere when it is not set.

        Raises:
            BadUsage: It is set, and OpenTelemetry is not installed.
        """
        if not os.environ.get(_ENDPOINT):
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError:
            raise BadUsage(f"{_ENDPOINT} is set and OpenTelemetry is not here: install whodid[cluster]") from None
        provider = TracerProvider(resource=Resource.create({"service.name": f"whodid-{service}"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider.get_tracer("whodid"))

    @contextmanager
    def span(self, name: str, headers: Mapping[str, str]) -> Iterator[str]:
        """A span around the work for one request; yields the trace's id, empty when the caller named none.

        Args:
            name: Of the span.
            headers: The request's, names in lower case.
        """
        if self._tracer is None:
            yield trace_id_of(headers)
            return
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        parent = TraceContextTextMapPropagator().extract(dict(headers))
        with self._tracer.start_as_current_span(name, context=parent, record_exception=False) as span:
            yield f"{span.get_span_context().trace_id:032x}"


def trace_id_of(headers: Mapping[str, str]) -> str:
    """The trace a caller's `traceparent` names; empty when it names none.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header.
    """
    found = _TRACEPARENT.fullmatch(headers.get("traceparent", "").strip())
    return found[1] if found else ""
