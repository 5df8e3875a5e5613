"""A process that backfills a chain of three tables over a month, a few days a run: the one that a test kills."""

import sys
from itertools import pairwise

import dagster as dg

from convergence.lake.tables import Lake
from tests.resources.readings import made_from, materialize, readings, summed, values_of

MONTH = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-31")
DAYS = list(MONTH.get_partition_keys())
CHUNK = 3


def chain() -> list[dg.AssetsDefinition]:
    root = readings(values_of(DAYS), MONTH)
    total = summed(root, -3, MONTH)
    return [root, total, made_from(total, "copy", partitions_def=MONTH)]


def main(folder: str) -> None:
    lake = Lake(folder)
    edges = [*range(0, len(DAYS), CHUNK), len(DAYS)]
    with dg.DagsterInstance.ephemeral() as instance:
        for first, end in pairwise(edges):
            assert materialize(chain(), lake, instance, DAYS[first], DAYS[end - 1]).success
            print(DAYS[end - 1], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
