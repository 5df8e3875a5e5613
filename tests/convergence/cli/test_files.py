"""Files and folders named on the command line: whatever is wrong with one, a command says it in a sentence, exit 2."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import polars as pl
import pytest
from click.testing import CliRunner, Result

from convergence.cli import cli
from convergence.cli.files import FileToRead, FileToWrite, FolderToRead, FolderToWrite, read_parquet
from convergence.errors import ConvergenceError, FileRefused

# The other arguments that a command needs to come as far as its file
REST = {
    ("features", "historical", "spine"): ["--group", "transaction_features_by_customer_id", "-o", "OUT/o.parquet"],
    ("features", "historical", "out"): ["GOOD", "--group", "transaction_features_by_customer_id"],
    ("features", "export", "folder"): ["fraud"],
    ("contract", "test", "files"): ["fraud/transactions"],
    ("now", "target"): ["fraud/transactions", "--days", "2018-04-01..2018-04-02"],
    ("replay", "ledger"): ["fraud.transactions", "--days", "2018-04-01..2018-04-02", "--to", "kafka"],
    ("search", "image"): [],
    ("serve", "tokens"): ["fraud"],
}


def commands(group: click.Group, *above: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)
        yield (*above, name), command


NAMED = [
    (words, parameter)
    for words, command in commands(cli)
    for parameter in command.params
    if isinstance(parameter.type, click.Path | click.File)
]


def of(kind: type) -> list:
    found = [(words, parameter) for words, parameter in NAMED if isinstance(parameter.type, kind)]
    return [pytest.param(*one, id=f"{' '.join(one[0])} {one[1].name}") for one in found]


def asked(words: tuple[str, ...], parameter: click.Parameter, named: Path, tmp_path: Path) -> Result:
    """A command with that file or folder, and otherwise with what it needs."""
    good = tmp_path / "good.parquet"
    pl.DataFrame({"customer_id": [1]}).write_parquet(good)
    rest = REST.get((*words, parameter.name or ""), [])
    rest = [one.replace("OUT", str(tmp_path)).replace("GOOD", str(good)) for one in rest]
    option = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
    ordered = [*rest, *option, str(named)] if words != ("features", "historical") else [*option, str(named), *rest]
    return CliRunner().invoke(cli, [*words, *ordered])


def said(result: Result) -> str:
    """The message, of a command that ended as `convergence` turns into exit code 2."""
    if isinstance(result.exception, ConvergenceError):
        return str(result.exception)
    assert isinstance(result.exception, SystemExit), result.exc_info
    assert result.exit_code == 2
    return result.output


def test_whatever_names_a_file_or_a_folder_says_what_it_does_with_it() -> None:
    assert len(NAMED) >= 14
    kinds = (FileToRead, FileToWrite, FolderToRead, FolderToWrite)
    assert [(*words, p.name) for words, p in NAMED if type(p.type) not in kinds] == []


@pytest.mark.parametrize(("words", "parameter"), of(FolderToRead))
@pytest.mark.parametrize("wrong", ["missing", "a file"])
def test_a_folder_that_is_not_there_is_told_in_a_sentence(
    words: tuple[str, ...], parameter: click.Parameter, wrong: str, tmp_path: Path
) -> None:
    named = tmp_path / "named"
    named.touch() if wrong == "a file" else None
    assert str(named) in said(asked(words, parameter, named, tmp_path))


@pytest.mark.parametrize(("words", "parameter"), of(FileToRead))
@pytest.mark.parametrize("wrong", ["missing", "folder", "empty", "text"])
def test_a_file_that_is_not_what_a_command_takes_is_told_in_a_sentence(
    words: tuple[str, ...],
    parameter: click.Parameter,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path / "home"))
    named = tmp_path / "named"
    if wrong == "folder":
        named.mkdir()
    elif wrong != "missing":
        named.write_text("" if wrong == "empty" else "secret,column\n4929123456789012,2\n")
        named.chmod(0o600)
    message = said(asked(words, parameter, named, tmp_path))
    assert "4929123456789012" not in message
    if parameter.name != "image" or wrong in ("missing", "folder"):  # without an index, no image is looked at
        assert str(named) in message


@pytest.mark.parametrize(("words", "parameter"), [*of(FileToWrite), *of(FolderToWrite)])
@pytest.mark.parametrize("wrong", ["taken", "below a file", "read-only"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    words: tuple[str, ...], parameter: click.Parameter, wrong: str, tmp_path: Path
) -> None:
    named = {"taken": tmp_path / "taken", "below a file": tmp_path / "file" / "x", "read-only": Path("/proc/x/y")}[
        wrong
    ]
    (tmp_path / "file").touch()
    named.mkdir() if wrong == "taken" and isinstance(parameter.type, FileToWrite) else None
    named.touch() if wrong == "taken" and isinstance(parameter.type, FolderToWrite) else None
    message = said(asked(words, parameter, named, tmp_path))
    assert "Invalid value for" in message
    assert {"taken": "is a", "below a file": "is a file, no folder", "read-only": "/proc"}[wrong] in message


def test_folders_that_are_not_there_yet_can_be_written_into(tmp_path: Path) -> None:
    for kind in (FileToWrite(), FolderToWrite()):
        assert kind.convert(str(tmp_path / "a" / "b" / "c"), None, None) == tmp_path / "a" / "b" / "c"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("kind", [FileToRead, FileToWrite])
def test_a_file_that_nobody_may_touch_is_refused(kind: type[click.Path], tmp_path: Path) -> None:
    (tmp_path / "closed").touch(0o000)
    with pytest.raises(click.BadParameter):
        kind().convert(str(tmp_path / "closed"), None, None)


def cut(path: Path) -> bytes:
    pl.DataFrame({"a": range(1000)}).write_parquet(path)
    return path.read_bytes()[:-100]


WRONG: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda _: b"", "an empty file"),
    "CSV": (lambda _: b"a,b\n1,2\n", "text, such as CSV"),
    "JSON": (lambda _: b'\n[{"a": 1}]', "JSON"),
    "compressed": (lambda _: gzip.compress(b"a,b\n"), "a gzip archive"),
    "cut": (cut, "a Parquet file that is cut short or damaged"),
    "bytes": (lambda _: b"\xff\xfe" * 4000, "bytes of another kind"),
    "letters at the limit": (lambda _: b"a" * 4095 + "ä".encode(), "text, such as CSV"),
}


@pytest.mark.parametrize(("made", "found"), WRONG.values(), ids=WRONG)
def test_what_is_no_parquet_is_told_by_what_it_is(made: Callable[[Path], bytes], found: str, tmp_path: Path) -> None:
    path = tmp_path / "named.parquet"
    path.write_bytes(made(path))
    with pytest.raises(FileRefused) as refused:
        read_parquet(path)
    assert str(refused.value).startswith(f"{path} cannot be read: expected a Parquet file, found {found}. Next: ")


def test_a_name_with_stars_is_one_file(tmp_path: Path) -> None:
    for name in ("a*.parquet", "ab.parquet"):
        pl.DataFrame({"name": [name]}).write_parquet(tmp_path / name)
    assert read_parquet(tmp_path / "a*.parquet")["name"].to_list() == ["a*.parquet"]
