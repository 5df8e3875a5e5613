"""Sums of the files of a snapshot. An engine answers from damaged files without a word, so they are compared first."""

import json
import os
from hashlib import blake2b
from pathlib import Path

from convergence.errors import SearchError

SUMS = "sums.json"
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)


def seal(folder: Path) -> None:
    """Write down the sums of all files of a folder, in the folder."""
    (folder / SUMS).write_text(json.dumps(sums(folder), indent=1))


def check(copy: Path, sealed: Path, part: str = ".") -> None:
    """Compare a copy, or the part of it that was copied, with the sums of what it is a copy of.

    Raises:
        SearchError: a file is missing, too many, or not as it was.
    """
    try:
        written = json.loads((sealed / SUMS).read_text())
        expected = {name: found for name, found in written.items() if Path(name).is_relative_to(part)}
    except (OSError, ValueError, AttributeError) as error:
        raise _damaged(f"its {SUMS} cannot be read ({type(error).__name__})") from error
    found = {name: digest for name, digest in sums(copy).items() if Path(name).is_relative_to(part)}
    wrong = sorted({name for name, _ in expected.items() ^ found.items()})
    if wrong:
        raise _damaged(f"{len(wrong)} of {len(expected)} files are not as they were, e.g. {wrong[0]}")


def sums(folder: Path) -> dict[str, str]:
    """A digest of each file below a folder, by its path in there."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return {str(path.relative_to(folder)): _digest(path) for path in paths}


def _digest(path: Path) -> str:
    """Of the blocks that are not all zero: whether a hole is stored or not makes no difference, and costs nothing."""
    total = blake2b(digest_size=16)
    with path.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        total.update(end.to_bytes(8, "little"))
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA) // _BLOCK * _BLOCK
            except OSError:  # nothing but a hole until the end
                break
            block = os.pread(file.fileno(), _BLOCK, at)
            if block != _ZEROS[: len(block)]:
                total.update(at.to_bytes(8, "little"))
                total.update(block)
            at += _BLOCK
    return total.hexdigest()


def _damaged(what: str) -> SearchError:
    return SearchError(f"the snapshot is damaged: {what}; remove its folder and build it again")
