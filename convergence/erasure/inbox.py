"""The inbox without a subject: files are written anew, and count as landed under their new name.

A file's content is its name in the lake, so the new one is announced in the very commit that removes the rows. A file
that could not be looked through, or that still names the subject, is told by its place and left as it is.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import polars as pl

from convergence.arrivals.codecs import OFFSET
from convergence.arrivals.files import decode
from convergence.arrivals.topics import Topic
from convergence.erasure.subjects import NotSearched, Subject
from convergence.erasure.texts import Unsearchable, Without, csv_without, lines_without


@dataclass(frozen=True)
class Replacement:
    """A file of the inbox and what takes its place, as the lake names both; `removed` messages fewer."""

    path: Path
    place: str  # below the home folder
    content: bytes
    before: str
    after: str
    messages: int
    removed: int

    def put(self) -> bool:
        """Let the new content take the file's place, in one step; False where that has changed since it was searched.

        Whoever wrote it anew meanwhile would lose what they wrote.
        """
        if not self.path.is_file() or not self.before.endswith(sha256(self.path.read_bytes()).hexdigest()):
            return False
        written = self.path.with_name(f".{self.path.name}.erasing")
        written.write_bytes(self.content)
        written.replace(self.path)
        return True


@dataclass
class Searched:
    """What looking through a folder found: files to replace, how many were looked through, and which were not."""

    replacements: list[Replacement] = field(default_factory=list)
    files: int = 0
    not_searched: list[NotSearched] = field(default_factory=list)


def search(inbox: Path, topic: Topic, subject: Subject) -> Searched:
    """Look through every file of a topic's folder."""
    found = Searched()
    for path, why in _files(inbox / topic.name):
        place = _place(inbox, path, subject)
        if why or path.parent != inbox / topic.name:
            found.not_searched.append(NotSearched(place, why or "a folder in which nothing is landed"))
            continue
        try:
            before = path.read_bytes()
            after = _without(path.name, before, subject)
        except (Unsearchable, OSError) as error:
            told = str(error) if isinstance(error, Unsearchable) else f"cannot be read ({type(error).__name__})"
            found.not_searched.append(NotSearched(place, told))
            continue
        found.files += 1
        if after.removed:
            was, now = (f"file/{topic.name}/{sha256(each).hexdigest()}" for each in (before, after.content))
            messages = _messages(path.name, after.content, topic)
            found.replacements.append(Replacement(path, place, after.content, was, now, messages, after.removed))
        if after.left:
            found.not_searched.append(NotSearched(place, "still names the subject, where no line can go by itself"))
        if subject.masked(path.name) != path.name:
            found.not_searched.append(NotSearched(place, "its name names the subject: rename it"))
    return found


def strays(inbox: Path, topics: Collection[str], subject: Subject) -> list[NotSearched]:
    """The files that lie in the folder of no topic."""
    found: list[NotSearched] = []
    for child in sorted(inbox.iterdir()) if inbox.is_dir() else ():
        if child.name not in topics:
            within = list(_files(child)) if child.is_dir() and not child.is_symlink() else [(child, "")]
            found += [NotSearched(_place(inbox, path, subject), "in the folder of no topic") for path, _ in within]
    return found


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder, and why it cannot be looked through, if so. In an empty one there is nobody."""
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_symlink():
            yield path, "a link, which may lead anywhere"
        elif path.is_dir():
            continue
        elif not path.is_file():
            yield path, "no plain file, or gone meanwhile"
        elif not path.stat().st_size:
            yield path, ""
        elif path.name.startswith("."):
            yield path, "hidden: whoever writes it may not have ended"
        elif not path.name.lower().endswith(tuple(_WRITERS)):
            yield path, f"an ending of which nothing is landed: known are {', '.join(_WRITERS)}"
        else:
            yield path, ""


def _place(inbox: Path, path: Path, subject: Subject) -> str:
    """The file below the home folder, without the subject's name."""
    return subject.masked(f"{inbox.name}/{path.relative_to(inbox)}".encode(errors="replace").decode())


def _messages(name: str, content: bytes, topic: Topic) -> int:
    """How far the offsets of a file with this content reach, as landing counts them."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, name)
        written.write_bytes(content)
        told = decode(written, topic.columns, topic.renames)
    return max([*told.rows[OFFSET][-1:], *told.broken[OFFSET][-1:]], default=-1) + 1


def _without(name: str, content: bytes, subject: Subject) -> Without:
    if not content:
        return Without(content, 0, left=False)
    return next(do for ending, do in _WRITERS.items() if name.lower().endswith(ending))(content, subject)


def _parquet(content: bytes, subject: Subject) -> Without:
    try:
        frame = pl.read_parquet(content)
        about = {k: v for k, v in pl.read_parquet_metadata(content).items() if k != "ARROW:schema"}
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise Unsearchable("no Parquet that can be read: cut or damaged") from error
    held = subject.rows_naming(frame)
    left = not subject.numbered and any(map(subject.named_in, [*frame.columns, *about.values()]))
    if not held.any():
        return Without(content, 0, left)
    written = BytesIO()
    frame.filter(~held).write_parquet(written, metadata=about)
    return Without(written.getvalue(), int(held.sum()), left)


_WRITERS: Mapping[str, Callable[[bytes, Subject], Without]] = {
    ".parquet": _parquet,
    ".csv": csv_without,
    ".csv.gz": csv_without,
    ".jsonl": lines_without,
}
