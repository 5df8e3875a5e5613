"""The code that is running, and the libraries that it was locked to, for manifests."""

import subprocess
from functools import cache
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def code_revision() -> str:
    """The git revision, with `+changes` when tracked files differ from it; `unknown` outside a checkout."""
    try:
        revision = _git("rev-parse", "HEAD")
        return revision + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@cache
def lock_hash() -> str:
    """The beginning of the SHA-256 of the lock file: which libraries, byte by byte; `unknown` where there is none."""
    try:
        return sha256((ROOT / "requirements.lock").read_bytes()).hexdigest()[:16]
    except OSError:
        return "unknown"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
