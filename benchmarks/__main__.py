"""`python -m benchmarks [--quick] [section ...]`: prints ratios; measured in full, they go to docs/benchmarks.md."""

import argparse
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

from benchmarks.measure import Section, measured

SECTIONS = (
    "backfill",
    "content_hash",
    "stored",
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
    "search",
    "encoders",
    "code_search",
)
REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
LIBRARIES = ("dagster", "polars", "deltalake", "pandera", "numpy", "confluent-kafka", "pyspark")
HEADER = "| case | ours: wall (CPU) | reference: wall (CPU) | wall ratio (min-max) | CPU ratio (min-max) | goal | |"


def main() -> None:
    """Measure, print, and write what was measured in full."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="default: all")
    parser.add_argument("--quick", action="store_true", help="1 M rows and fewer repetitions")
    arguments = parser.parse_args()
    print(*about(), sep="\n", end="\n\n")
    done = []
    # A process each: a section must not find the heap and the threads that another has left.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        for name in arguments.sections or SECTIONS:
            began = load()
            done.append(section := fresh.apply(measured, (name,), {"quick": arguments.quick}))
            print(measurement := text(section, began), end="\n\n", flush=True)
            if not arguments.quick:
                REPORT.write_text(replaced(REPORT.read_text(), section.title, measurement))
    missed = [row.case for section in done for row in section.rows if row.met is False]
    print(f"goals missed: {', '.join(missed) or 'none'}")


def text(section: Section, began: str) -> str:
    """A section as a Markdown table; `began`: the load average before it."""
    when = f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC at {revision()}, load {began} before."
    lines = [f"## {section.title}", "", section.protocol, "", when]
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
    ]


def installed(library: str) -> str:
    """A library's version, or that there is none: pyspark is only here under `make bench`."""
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def replaced(page: str, title: str, measurement: str) -> str:
    """The page with a section replaced, or added at the end, and with what is installed now at its beginning."""
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    sections[title] = measurement.split("\n", 1)[1]
    intro = (
        "Written by `python -m benchmarks [section ...]`, each section when it was last measured in full; not edited "
        "by hand. Ours and the reference run in turns in one process, a new one for each section. Times are medians; "
        "ratios are of medians, with the least and greatest ratio of a pair. Ratios carry over to other machines, "
        "seconds do not."
    )
    body = [f"## {name}\n{content.rstrip()}\n" for name, content in sections.items()]
    return "\n".join(["# Benchmarks\n", f"{intro}\n", *about(), "", *body])


def load() -> str:
    """Load averages of 1, 5 and 15 minutes."""
    return " / ".join(f"{value:.1f}" for value in os.getloadavg())


def revision() -> str:
    """The short git revision."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
