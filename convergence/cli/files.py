"""Files and folders that people name on the command line: looked at before the work, and told of in one sentence."""

import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import click

from convergence.errors import FileRefused

if TYPE_CHECKING:
    import polars as pl

# How files begin, of what people hand over in place of Parquet
_BEGINNINGS = {
    b"PAR1": "a Parquet file that is cut short or damaged",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a ZIP archive or a workbook",
    b"ARROW1": "an Arrow (Feather) file",
    b"{": "JSON",
    b"[": "JSON",
}


class _Named(click.Path):
    """A path as a `Path`; `_trouble` is looked for as the command line is read."""

    def __init__(self, **rules: Any) -> None:
        super().__init__(path_type=Path, **rules)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if trouble := self._trouble(path):
            self.fail(trouble, param, ctx)
        return path

    def _trouble(self, path: Path) -> str | None:
        raise NotImplementedError


class FileToRead(_Named):
    """A file that is there and can be read."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, readable=True)

    def _trouble(self, path: Path) -> str | None:
        try:
            path.open("rb").close()
        except OSError as error:
            return f"{path} cannot be read ({error.strerror}): name a file that you may read"
        return None


class FolderToRead(_Named):
    """A folder that is there and can be read."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False, readable=True)

    def _trouble(self, path: Path) -> str | None:
        try:
            next(path.iterdir(), None)
        except OSError as error:
            return f"{path} cannot be read ({error.strerror}): name a folder that you may read"
        return None


class FileToWrite(_Named):
    """A file that can be written; it and the folders above it may not be there yet."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False)

    def _trouble(self, path: Path) -> str | None:
        if path.exists() and not os.access(path, os.W_OK):
            return f"{path} is there and may not be written: name another file"
        return _closed(path.parent)


class FolderToWrite(_Named):
    """A folder that can be written into; it and those above it may not be there yet."""

    def __init__(self) -> None:
        super().__init__(file_okay=False)

    def _trouble(self, path: Path) -> str | None:
        return _closed(path)


def _closed(folder: Path) -> str | None:
    """Why nothing can be made in a folder, which may not be there yet; None if it can."""
    there = next((one for one in (folder, *folder.absolute().parents) if one.exists()), folder)
    if not there.is_dir():
        return f"{there} is a file, no folder: name another place"
    try:
        TemporaryFile(dir=there).close()
    except OSError as error:
        return f"{there} cannot be written into ({error.strerror}): name another place"
    return None


def read_parquet(path: Path) -> "pl.DataFrame":
    """The rows of a Parquet file that somebody named. Raises FileRefused, with what it is instead and what to do."""
    import polars as pl

    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError) as error:
        raise FileRefused(
            f"{path} cannot be read: expected a Parquet file, found {_kind(path)}. "
            "Next: write it as Parquet, e.g. polars.read_csv(FILE).write_parquet(OTHER), and name that"
        ) from error


def _kind(path: Path) -> str:
    """What a file seems to be, in words that quote nothing of it."""
    try:
        with path.open("rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        return f"none that can be opened ({error.strerror})"
    if not beginning:
        return "an empty file"
    if known := next((kind for sign, kind in _BEGINNINGS.items() if beginning.lstrip().startswith(sign)), None):
        return known
    try:
        beginning[:-3].decode()  # the last letter may be cut
    except UnicodeDecodeError:
        return "bytes of another kind"
    return "text, such as CSV"
