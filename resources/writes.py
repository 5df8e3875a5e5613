"""What a lake asset hands to its I/O manager, and what making and writing each partition took.

The figures are metadata of the partition's event; `convergence catalog` turns them into money.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from deltalake import DeltaTable

from convergence.observability.usage import Meter, Usage


@dataclass(frozen=True)
class LakeWrite:
    """Partitions that have passed their contract, and their manifest; `meter` runs since the work on them began."""

    partitions: Mapping[str, pl.DataFrame]
    manifest: Mapping[str, Any]
    base: DeltaTable | None  # the table as it was when the work began
    meter: Meter
    written: dict[str, int] = field(default_factory=dict)  # bytes by partition, once it is committed

    def costs(self) -> dict[str, dict[str, Any]]:
        """Metadata by partition: what it has taken until now."""
        return costs(self.meter.read(), self.partitions, self.written)


def costs(usage: Usage, frames: Mapping[str, pl.DataFrame], written: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Metadata by partition. CPU and time of a run over several are shared out by rows, the peak is the run's."""
    total = sum(frame.height for frame in frames.values())
    shared = {"cost_shared": f"by rows, {len(frames)} partitions in one run"} if len(frames) > 1 else {}

    def cost(key: str, frame: pl.DataFrame) -> dict[str, Any]:
        share = frame.height / total if total else 1 / len(frames)
        return {
            "cpu_seconds": round(usage.cpu_seconds * share, 6),
            "elapsed_seconds": round(usage.elapsed_seconds * share, 6),
            "peak_memory_mib": round(usage.peak_memory_mib, 1),
            "bytes_written": written.get(key, 0),
            **shared,
        }

    return {key: cost(key, frame) for key, frame in frames.items()}
