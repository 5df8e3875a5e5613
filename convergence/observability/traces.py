"""What took how long, as spans of OpenTelemetry; a Dagster run is one trace, whose id is the run's own.

OpenTelemetry is loaded by `tracer`, and only where spans go somewhere: it takes longer to load than most assets to run.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convergence.observability.context import bound, current

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider


class Span:
    """Something that takes time; nothing is recorded of one that no trace is kept of."""

    def __init__(self, recording: Any = None) -> None:
        self._recording = recording

    def set(self, **attributes: str | float | None) -> None:
        """Attributes by name; None is left out."""
        if self._recording is not None:
            self._recording.set_attributes({name: value for name, value in attributes.items() if value is not None})


class Tracer:
    """Records the spans of one program; threads may share it. Without a provider it records nothing.

    `share` of the traces are kept; which ones is drawn here, because OpenTelemetry takes longer to leave one out.
    """

    def __init__(self, provider: "TracerProvider | None" = None, share: float = 1.0) -> None:
        self._provider, self._share = provider, share
        self._tracer = provider and provider.get_tracer("convergence")

    @contextmanager
    def trace(
        self, name: str, *, trace_id: str | None = None, caller: str | None = None, began: int | None = None
    ) -> Iterator[Span]:
        """The first span of a trace; while it lasts, its `trace_id` is bound if the trace is kept.

        Args:
            name: of the span.
            trace_id: 32 hexadecimal digits; None: made up.
            caller: a W3C `traceparent` header: the trace goes on, and is kept if the caller keeps it; one that cannot
                be understood is none.
            began: nanoseconds since 1970; None: now.
        """
        above = _above(caller) if self._tracer is not None and caller else None
        if self._tracer is None or (not above and random.random() >= self._share):
            yield Span()
            return
        from opentelemetry.context import Context

        from convergence.observability.span_export import next_trace

        above = above or Context()
        with next_trace(trace_id), self._span(name, above, began) as span:
            yield span

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        """A part of the span that is open, where the trace is kept."""
        if self._tracer is None or "trace_id" not in current():
            yield Span()
            return
        with self._span(name, None, None) as span:
            yield span

    def past(self, name: str, began: int, ended: int, **attributes: str | float) -> None:
        """A part of the open span that is over already; nanoseconds since 1970."""
        if self._tracer is not None and "trace_id" in current():
            self._tracer.start_span(name, start_time=began, attributes=attributes).end(ended)

    def flush(self) -> None:
        """Write what waits: a process that Dagster has started ends without saying so."""
        if self._provider is not None:
            self._provider.force_flush()

    @contextmanager
    def _span(self, name: str, above: "Context | None", began: int | None) -> Iterator[Span]:
        from opentelemetry.trace import Status, StatusCode, format_trace_id

        assert self._tracer is not None
        # an error's text may quote a row: only its kind is recorded
        opened = self._tracer.start_as_current_span(
            name, above, start_time=began, record_exception=False, set_status_on_exception=False
        )
        with opened as recording:
            context = recording.get_span_context()
            kept = format_trace_id(context.trace_id) if context.trace_flags.sampled else None
            with bound(trace_id=kept):
                try:
                    yield Span(recording)
                except BaseException as error:
                    recording.set_status(Status(StatusCode.ERROR, _kind(error)))
                    raise


def _above(caller: str) -> "Context":
    """The caller's span; empty where the header names none."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": caller}, Context())


OFF = Tracer()


@cache
def tracer(service: str, folder: Path | None, collector: str | None, share: float = 1.0) -> Tracer:
    """The tracer of a program, one for each process and place.

    Args:
        service: what the program is called.
        folder: spans are appended to `<folder>/<UTC date>.jsonl`; None: nowhere, unless there is a collector.
        collector: address of one that takes OTLP over HTTP, e.g. http://127.0.0.1:4318; nothing then goes to files.
        share: of the traces that are kept, where the caller has not decided.
    """
    if folder is None and collector is None:
        return OFF
    from convergence.observability.span_export import provider

    return Tracer(provider(service, folder, collector), share)


def _kind(error: BaseException) -> str:
    """The kind of an error; a failure that Dagster is told of begins with it, whatever its own type."""
    described = getattr(error, "description", None)
    return described.partition(":")[0] if isinstance(described, str) else type(error).__name__
