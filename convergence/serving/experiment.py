"""What an exposure log says of a trial: who got whom, whether the split is as intended, and the guards' rates."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from convergence.serving.assignment import sample_ratio_p
from convergence.serving.canary import Guards, distance

BROKEN_SPLIT = 0.001

_LINES = pl.Schema(
    {
        "experiment": pl.String(),
        "unit": pl.String(),
        "variant": pl.String(),
        "outcome": pl.String(),
        "seconds": pl.Float64(),
        "score": pl.Float64(),
    }
)


@dataclass(frozen=True)
class Experiment:
    """A trial so far.

    `rates`: a row per variant with `variant`, `units` (different ones), `repeated` (requests of a unit that had been
    there), and the shares of the units whose first answer `failed`, was `invalid` or `slow`. `distance`: of the
    variants' scores; None until both gave some.
    """

    rates: pl.DataFrame
    split_p: float
    distance: float | None

    @property
    def split_is_broken(self) -> bool:
        """Whether the units are split otherwise than they should be: nothing else can then be believed."""
        return self.split_p < BROKEN_SPLIT


def experiment(folder: Path, name: str, shares: Mapping[str, float], since: date) -> Experiment:
    """Read a trial from the exposure log in `folder`; lines that a killed server left torn are passed over.

    Args:
        folder: of files `<UTC date>.jsonl`.
        name: of the experiment.
        shares: variant -> weight, as it was assigned by.
        since: the day that it began.
    """
    files = [file for file in sorted(folder.glob("*.jsonl")) if file.stem >= str(since)]
    found = pl.concat([pl.LazyFrame(schema=_LINES), *map(_lines, files)]).filter(pl.col("experiment") == name)
    once = found.group_by("variant", "unit").agg(pl.col("outcome", "seconds", "score").first(), requests=pl.len())
    rates = (
        once.group_by("variant")
        .agg(
            units=pl.len(),
            repeated=(pl.col("requests").cast(pl.Int64) - 1).sum(),
            failed=(pl.col("outcome") == "failed").mean(),
            invalid=(pl.col("outcome") == "invalid").mean(),
            slow=(pl.col("seconds") > Guards.slow).mean(),
        )
        .sort("variant")
    )
    scores = once.select("variant", "score").drop_nulls()
    counted, scored = pl.collect_all([rates, scores])
    mine, theirs = (scored.filter(pl.col("variant") == v)["score"].to_numpy() for v in ("challenger", "champion"))
    return Experiment(
        counted,
        sample_ratio_p(dict(counted.select("variant", "units").iter_rows()), shares),
        distance(mine, theirs) if len(mine) and len(theirs) else None,
    )


def _lines(file: Path) -> pl.LazyFrame:
    line = pl.col("line").str
    read = {name: line.json_path_match(f"$.{name}").cast(kind, strict=False) for name, kind in _LINES.items()}
    return pl.scan_lines(file, name="line").select(**read)
