import json
import logging

import pytest

from services.observation.logs import JsonFormatter, request_context
from services.observation.traces import Tracing, trace_id_of


def line_of(message: str, **extra: object) -> dict[str, object]:
    record = logging.getLogger("services.test").makeRecord("services.test", logging.INFO, "f", 1, message, (), None)
    record.__dict__.update(extra)
    line: dict[str, object] = json.loads(JsonFormatter("identity").format(record))
    return line


def test_a_line_names_its_request_and_clip() -> None:
    with request_context(request_id="r1", trace_id="") as context:
        context["clip_id"] = "a" * 64
        line = line_of("answered", status=200, milliseconds=1.5)
    assert (line["request_id"], line["clip_id"], line["status"]) == ("r1", "a" * 64, 200)
    assert (line["service"], line["level"], "trace_id" in line) == ("identity", "INFO", False)
    assert "request_id" not in line_of("later")


def test_what_nobody_listed_stays_out() -> None:
    line = line_of("answered", embedding=[0.1, 0.2], subject_id="ada")
    assert "embedding" not in line
    assert "ada" not in json.dumps(line)


def test_of_an_exception_type_and_place_are_kept_and_its_words_are_not() -> None:
    try:
        raise ValueError("no template for ada: [0.12, 0.34]")
    except ValueError as fault:
        record = logging.getLogger("x").makeRecord(
            "x", 40, "f", 1, "incident", (), (ValueError, fault, fault.__traceback__)
        )
    text = JsonFormatter("identity").format(record)
    assert "ada" not in text
    assert "0.12" not in text
    line = json.loads(text)
    assert line["error_type"] == "ValueError"
    assert "test_logs.py" in line["stack"][-1]


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.mark.parametrize("header", ["", "00-xyz-1-01", f"00-{TRACE}", TRACE])
def test_a_traceparent_that_is_none_names_no_trace(header: str) -> None:
    assert trace_id_of({"traceparent": header}) == ""


def test_without_a_tracer_the_callers_trace_is_still_named() -> None:
    with Tracing().span("identity", PARENT) as trace_id:
        assert trace_id == TRACE


def test_spans_of_two_services_lie_in_their_callers_trace() -> None:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for service in ("tracks", "identity"):
        with Tracing(provider.get_tracer(service)).span(service, PARENT) as trace_id:
            assert trace_id == TRACE
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == ["tracks", "identity"]
    assert {span.parent.span_id for span in spans if span.parent} == {0xB7AD6B7169203331}
    assert {span.context.trace_id for span in spans if span.context} == {int(TRACE, 16)}
