"""What the content hash adds to a write."""

import shutil
import tempfile
from pathlib import Path

from benchmarks.data import roomiest, transactions
from benchmarks.measure import Section, alternately, compare
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake, by_day


def section(*, quick: bool) -> Section:
    rows = []
    for millions in (1,) if quick else (1, 10):
        with tempfile.TemporaryDirectory(dir=roomiest(), prefix="bench-") as root:
            lake, parts = Lake(root), by_day(transactions(millions * 1_000_000))
            hashed, written = alternately(
                3 if quick else 5,
                lambda: build_manifest(parts, "replace", Provenance("bench", "1")),  # noqa: B023
                lambda: lake.replace("bench/table", parts, {}, None),  # noqa: B023
                before=lambda: shutil.rmtree(Path(root, "bench"), ignore_errors=True),
            )
        rows.append(compare(f"{millions} M rows, 10 columns, 30 days", hashed, written))
    return Section(
        "Content hash as a share of the write",
        "Ours: the content hashes of 30 partitions (`build_manifest`). Reference: writing the same partitions "
        "(`Lake.replace`: Parquet with zstd level 1, statistics, one commit), on tmpfs where there is one.",
        rows,
    )
