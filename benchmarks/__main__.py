"""`python -m benchmarks [--quick] [section ...]`: prints ratios; a full run also writes docs/benchmarks.md."""

import argparse
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

from benchmarks.measure import Section, measured

SECTIONS = (
    "backfill",
    "content_hash",
    "code_location",
    "point_in_time",
    "windows",
    "reconcile",
    "streaming",
    "latency",
    "micro_commits",
    "online",
    "feast",
    "score",
    "release",
    "drift",
)
REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
LIBRARIES = ("dagster", "polars", "deltalake", "pandera", "numpy", "confluent-kafka", "pyspark")
HEADER = "| case | ours: wall (CPU) | reference: wall (CPU) | wall ratio (min-max) | CPU ratio (min-max) | goal | |"


def main() -> None:
    """Measure, print, and write the report when everything was measured in full."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="default: all")
    parser.add_argument("--quick", action="store_true", help="1 M rows and fewer repetitions")
    arguments = parser.parse_args()
    began = load()
    print(*(machine := about()), sep="\n", end="\n\n")
    done = []
    # A process each: a section must not find the heap and the threads that another has left.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        for section in fresh.imap(partial(measured, quick=arguments.quick), arguments.sections or SECTIONS):
            done.append(section)
            print(text(section), end="\n\n", flush=True)
    missed = [row.case for section in done for row in section.rows if row.met is False]
    print(f"load {began} before, {load()} after; goals missed: {', '.join(missed) or 'none'}")
    if not arguments.quick and not arguments.sections:
        REPORT.write_text(report(done, machine, began))
        print(f"written: {REPORT.relative_to(Path.cwd())}")


def text(section: Section) -> str:
    """A section as a Markdown table."""
    lines = [f"## {section.title}", "", section.protocol]
    lines += ["", HEADER, "|---|---|---|---|---|---|---|"] if section.rows else []
    for row in section.rows:
        verdict = {None: "", True: "met", False: "**missed**"}[row.met]
        lines.append(f"| {row.case} | {row.ours} | {row.reference} | {row.wall} | {row.cpu} | {row.goal} | {verdict} |")
    return "\n".join(lines)


def about() -> list[str]:
    """Machine, versions, date and command, one line each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        f"- machine: {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}",
        f"- Python {platform.python_version()}",
        f"- versions: {', '.join(f'{name} {installed(name)}' for name in LIBRARIES)}",
        f"- revision: {revision()}",
        f"- date: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- command: `{shlex.join(['python', '-m', 'benchmarks', *sys.argv[1:]])}`",
    ]


def installed(library: str) -> str:
    """A library's version, or that there is none: pyspark is only here under `make bench`."""
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def report(sections: list[Section], machine: list[str], began: str) -> str:
    """The page that a full run writes."""
    return "\n".join(
        [
            "# Benchmarks",
            "",
            "Written by `python -m benchmarks`; not edited by hand. Ours and the reference run in turns in one "
            "process, a new one for each section. Times are medians; ratios are of medians, with the least and "
            "greatest ratio of a pair. Ratios carry over to other machines, seconds do not.",
            "",
            *machine,
            f"- load average: {began} before, {load()} after",
            "",
            *(text(section) + "\n" for section in sections),
        ]
    )


def load() -> str:
    """Load averages of 1, 5 and 15 minutes."""
    return " / ".join(f"{value:.1f}" for value in os.getloadavg())


def revision() -> str:
    """The short git revision."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
