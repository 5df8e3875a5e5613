"""`convergence contract`: contracts as files. They are written from the code, and CI compares them with it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convergence.cli.files import FileToRead, FolderToWrite, read_parquet

if TYPE_CHECKING:
    from convergence.contracts.changes import Change
    from convergence.contracts.standard import Document, Table
    from resources.consumers import Readers

_FOLDER = click.option("--folder", type=FolderToWrite(), help="Default: contracts/ in the repository.")


@click.group()
def contract() -> None:
    """What tables promise, as files of the Open Data Contract Standard: write them, check them, compare versions."""


@contract.command()
@_FOLDER
@click.option(
    "--great-expectations", "suites", type=FolderToWrite(),
    help="Write a suite of Great Expectations for each table into this folder instead.",
)  # fmt: skip
def export(folder: Path | None, suites: Path | None) -> None:
    """Write the contract of each use case from the code; the file keeps its version and status."""
    from convergence.contracts.changes import explained
    from convergence.contracts.standard import document, dump, load

    if suites:
        _export_suites(suites)
        return
    readers = _readers()
    for file, tables in _files(folder).items():
        old = load(file) if file.exists() else None
        kept = {"version": old["version"], "status": old["status"]} if old else {}
        made = document(file.stem, tables, **kept)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dump(made))
        found = _changes(old, made)
        click.echo(f"{file.name}: {len(tables)} tables, {f'{len(found)} changes' if old else 'new'}")
        for change in found:
            click.echo(f"  {explained(change, readers)}")


@contract.command()
@_FOLDER
def check(folder: Path | None) -> None:
    """Exit 1 if files and code differ, or if a file takes away what a committed version of it had promised."""
    from convergence.contracts.changes import explained
    from convergence.contracts.history import broken_promises
    from convergence.contracts.standard import document, load

    readers, files, wrong = _readers(), _files(folder), []
    for file, tables in files.items():
        if not file.exists():
            wrong.append(f"{file.name} is not there: `convergence contract export` writes it")
            continue
        written = load(file)
        made = document(file.stem, tables, version=written["version"], status=written["status"])
        if made != written:
            found = [explained(change, readers) for change in _changes(written, made)] or ["fields of the document"]
            wrong += [f"{file.name} is not what the code says: {one}" for one in found]
        wrong += [
            f"{file.name} broke a promise of revision {revision}: {explained(change, readers)}"
            for revision, change in broken_promises(file, made)
        ]
    strangers = {f.name for f in _folder(folder).glob("*.yaml")} - {file.name for file in files}
    wrong += [f"{name} is the contract of no use case: remove it" for name in sorted(strangers)]
    for line in wrong:
        click.secho(line, fg="red", err=True)
    if wrong:
        click.echo(
            "Next: take the change back; or `convergence contract export`, and for what is BREAKING raise `version` to "
            "the next major one in the file, after a version that marks what goes as deprecated (docs/contracts.md)",
            err=True,
        )
        sys.exit(1)
    click.echo(f"{len(files)} contracts are what the code says, and keep what they had promised")


@contract.command()
@click.argument("table")
@click.argument("files", nargs=-1, required=True, type=FileToRead())
@click.option("--engine", type=click.Choice(["pandera", "great-expectations"]), default="pandera", show_default=True)
def test(table: str, files: tuple[Path, ...], engine: str) -> None:
    """Judge Parquet FILES by the contract of TABLE, each as one partition; exit 1 if one breaks it."""
    from convergence.contracts.expectations import judged, run

    known = {one.name: one.contract for tables in _files(None).values() for one in tables}
    if table not in known:
        raise click.BadParameter(f"{table!r} has no contract; there are: {', '.join(known)}")
    frames, model = [read_parquet(file) for file in files], known[table]
    found = run(model, frames) if engine == "great-expectations" else [judged(model, frame) for frame in frames]
    for file, frame, broken in zip(files, frames, found, strict=True):
        click.echo(f"{file}: {frame.height:,} rows, {len(broken)} rules broken")
        for reason, rows in broken.items():
            click.secho(f"  {reason}" + (f" ({rows:,} rows)" if rows is not None else ""), fg="red")
    sys.exit(1 if any(found) else 0)


@contract.command()
@click.argument("since", default="HEAD")
@click.option("--use-case", "only", help="One use case; default: all.")
def diff(since: str, only: str | None) -> None:
    """Show what the code changed SINCE a git revision or an older file of a contract; exit 1 if it breaks somebody."""
    from convergence.contracts.changes import explained
    from convergence.contracts.history import at
    from convergence.contracts.standard import document, load

    readers, breaking, given = _readers(), False, Path(since)
    files = {file: tables for file, tables in _files(None).items() if only in (None, file.stem)}
    if given.is_file():
        older = load(given)
        before = {file: older for file in files if file.stem == older.get("name")}
    else:
        before = {file: older for file in files if (older := at(since, file))}
    if not before:
        raise click.BadParameter(f"{since!r} is no file of, and no git revision with, a contract of {only or 'ours'}")
    for file, old in before.items():
        found = _changes(old, document(file.stem, files[file]))
        breaking |= any(change.breaking for change in found)
        click.echo(f"{file.stem}: {len(found)} changes")
        for change in sorted(found, key=lambda c: not c.breaking):
            click.secho(f"  {explained(change, readers)}", fg="red" if change.breaking else None)
    sys.exit(1 if breaking else 0)


def _export_suites(folder: Path) -> None:
    from convergence.contracts.expectations import suite, write_suites

    tables = {one.name: one.contract for tables in _files(None).values() for one in tables}
    written = write_suites(tables, folder)
    left = {entry["why"] for name, model in tables.items() for entry in suite(name, model)["meta"]["not_translated"]}
    click.echo(f"{folder}: {len(written)} suites; without an expectation, and named in the suites' not_translated:")
    for why in sorted(left):
        click.echo(f"  {why}")


def _changes(old: "Document | None", new: "Document") -> "list[Change]":
    from convergence.contracts.changes import changes

    return changes(old, new) if old else []


def _folder(given: Path | None) -> Path:
    from convergence.cli import ROOT

    return given or ROOT / "contracts"


def _files(folder: Path | None) -> "Mapping[Path, list[Table]]":
    """The file of each use case, with the tables that it is about."""
    from convergence_assets import declared
    from convergence_assets.definitions import defs
    from resources.contract_files import promised

    found = promised(defs.resolve_all_asset_specs(), _readers(), dict(declared(lambda one: one.fresh.items())))
    return {_folder(folder) / f"{use_case}.yaml": tables for use_case, tables in sorted(found.items())}


def _readers() -> "Readers":
    from convergence_assets import declared
    from convergence_assets.definitions import defs
    from resources.consumers import Readers

    return Readers(defs.resolve_all_asset_specs(), declared(lambda one: one.served))
