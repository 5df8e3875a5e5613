"""OpenTelemetry as the platform uses it; heavy, so `traces.py` imports it where spans go somewhere."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased

from convergence.observability.day_files import append

WITHIN = 2.0  # seconds for a collector to take a batch: whoever flushes waits as long

_next: ContextVar[int | None] = ContextVar("next_trace", default=None)


@contextmanager
def next_trace(trace_id: str | None) -> Iterator[None]:
    """A trace that begins within gets this id, where one is given."""
    token = _next.set(int(trace_id, 16) if trace_id else None)
    try:
        yield
    finally:
        _next.reset(token)


def provider(service: str, folder: Path | None, collector: str | None) -> TracerProvider:
    """Makes spans, and writes them in batches in a thread of its own."""
    made = TracerProvider(
        sampler=ParentBased(ALWAYS_ON),
        resource=Resource.create({"service.name": service}),
        id_generator=_GivenIds(),
    )
    made.add_span_processor(BatchSpanProcessor(_exporter(folder, collector)))
    return made


def _exporter(folder: Path | None, collector: str | None) -> SpanExporter:
    if collector is not None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=f"{collector.rstrip('/')}/v1/traces", timeout=WITHIN)
    assert folder is not None
    return _DayFiles(folder)


class _GivenIds(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        return _next.get() or super().generate_trace_id()


class _DayFiles(SpanExporter):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            append(self._folder, "".join(f"{span.to_json(indent=None)}\n" for span in spans))
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is held open."""
