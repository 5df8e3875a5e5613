"""Guides as programs: their fenced blocks run in order in one shell, and say what the page says they say."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.graph.house import ROOT

_BLOCK = re.compile(r"^```(bash|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NEXT = "=== block "


@dataclass(frozen=True)
class Block:
    """A command block of a guide, and the lines that must be in what it prints, in this order."""

    language: str
    code: str
    expected: tuple[str, ...] = ()


def blocks(page: str) -> list[Block]:
    """The command blocks of a page; a text block says what the one before it prints, `...` stands for anything."""
    found: list[Block] = []
    for language, code in _BLOCK.findall(page):
        if language == "text":
            assert found, "a text block follows what prints it"
            assert not found[-1].expected, "two text blocks for one command"
            found[-1] = Block(found[-1].language, found[-1].code, tuple(code.splitlines()))
        else:
            found.append(Block(language, code))
    return found


def script(guide: list[Block]) -> str:
    """One shell program of all blocks; what each prints comes after a line of its own."""
    parts = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]  # a server that a block started
    for number, block in enumerate(guide):
        code = block.code if block.language == "bash" else f"python <<'END_OF_BLOCK'\n{block.code}END_OF_BLOCK\n"
        parts.append(f"echo '{_NEXT}{number}'\n{code}")
    return "\n".join(parts)


def run(guide: list[Block], folder: Path) -> list[str]:
    """What each block printed, errors included; temporary files are in `folder`. Raises where a block fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONVERGENCE_", "DAGSTER_"))}
    environment = kept | {"TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = ["bash", "-c", script(guide)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    said = re.split(rf"{_NEXT}\d+\n", done.stdout)[1:]  # what comes before it may not end its line
    assert done.returncode == 0, f"{guide[len(said) - 1].code}\n{said[-1][-3000:]}"
    return said


def missing(expected: tuple[str, ...], said: str) -> str | None:
    """The first expected line that does not follow those before it in what was said."""
    lines = iter(said.splitlines())
    for line in expected:
        pattern = re.compile(".*".join(re.escape(part) for part in line.rstrip().split("...")))
        if not any(pattern.fullmatch(one.rstrip()) for one in lines):
            return line
    return None
