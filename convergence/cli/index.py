"""`convergence index`: which indexes are on disk, which of them answers, and letting another one answer.

A switch is one replacement of the alias and one entry of the audit log; services notice it by themselves.
"""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from convergence.errors import IndexMissing
from convergence.search.use_case import SearchedUseCase

if TYPE_CHECKING:
    from convergence.search.snapshots import Snapshots

_USE_CASE = click.option("--use-case", help="Default: the one that is searched.")
_REASON = click.option("--reason", required=True, help="Goes on record.")
_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON.")
_SHORT = 12  # signs of a digest that people read


@click.group()
def index() -> None:
    """The indexes that can be searched: look at them, switch to one, go back."""


@index.command("ls")
@_USE_CASE
@_JSON
def list_(use_case: str | None, *, as_json: bool) -> None:
    """Print the indexes on disk: what they hold, how good they are, and which one answers."""
    snapshots = _of(use_case)[1]
    found = [_facts(snapshots, version) for version in snapshots.versions()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found:
        _show(found)
    else:
        click.echo("No index is on disk. Next: materialize search_index, or `convergence demo`")


@index.command()
@click.argument("version")
@_USE_CASE
@click.option("--expected", help="The version that you know to be live; default: whichever is.")
@_REASON
@_JSON
def switch(version: str, use_case: str | None, expected: str | None, reason: str, *, as_json: bool) -> None:
    """Let the index VERSION answer; the first signs of it are enough where they name one."""
    one, snapshots = _of(use_case)
    live = snapshots.live()
    known = _named(snapshots, expected) if expected else live.version if live else None
    _switch(one, snapshots, _named(snapshots, version), known,
            action="switch_index", reason=reason, as_json=as_json)  # fmt: skip


@index.command()
@_USE_CASE
@_REASON
@_JSON
def rollback(use_case: str | None, reason: str, *, as_json: bool) -> None:
    """Let the index answer that did so before the present one."""
    one, snapshots = _of(use_case)
    live = snapshots.live()
    if live is None or live.previous is None:
        raise IndexMissing(
            f"{one.name} has no index to go back to: {'only one was ever live' if live else 'none was ever live'}; "
            "`convergence index ls` lists those on disk, `convergence index switch` takes one"
        )
    _switch(one, snapshots, live.previous, live.version,
            action="rollback_index", reason=reason, as_json=as_json)  # fmt: skip


def _of(use_case: str | None) -> "tuple[SearchedUseCase, Snapshots]":
    from convergence.cli import snapshots
    from convergence.cli.search import searched

    one = searched(use_case)
    return one, snapshots(one.name)


def _named(snapshots: "Snapshots", version: str) -> str:
    """The version on disk that begins so. Raises IndexMissing where none or more than one does."""
    there = snapshots.versions()
    found = [name for name in there if name.startswith(version)]
    if len(found) != 1:
        shown = ", ".join(name[:_SHORT] for name in there) or "none"
        raise IndexMissing(
            f"{len(found) or 'no'} index versions on disk begin with {version[:64]!r}, expected one of: {shown}; "
            "give more signs, or build it again"
        )
    return found[0]


def _switch(
    one: SearchedUseCase,
    snapshots: "Snapshots",
    version: str,
    expected: str | None,
    *,
    action: str,
    reason: str,
    as_json: bool,
) -> None:
    from convergence.cli import lake
    from convergence.lake.manifests import states
    from convergence.versions.audit import AuditLog, Draft, process_user

    decided = max(states(lake(), [one.decisions])[one.decisions], default=None)  # it counts for the days after
    detail = {"index_version": version, "before": expected, "day": decided, "reason": reason}
    entry = Draft(process_user(), action, one.subject, detail)
    live = snapshots.switch(version, expected=expected, record=lambda: AuditLog(lake().store).append(entry))
    changed = expected != version
    if as_json:
        click.echo(json.dumps({"version": version, "before": expected, "at": live.at.isoformat(), "changed": changed}))
        return
    before = expected[:_SHORT] if expected else "none"
    click.echo(f"{one.name}: {version[:_SHORT]} {f'answers, instead of {before}' if changed else 'is live already'}")


def _facts(snapshots: "Snapshots", version: str) -> dict[str, Any]:
    """What is known of a version: `state` is live, previous or empty, `bytes` the size of its folder."""
    about, live, folder = snapshots.about(version), snapshots.live(), snapshots.root / version
    state = "" if live is None or version not in live[:2] else "live" if version == live.version else "previous"
    checks = about.get("checks", {})
    return {
        "version": version,
        "state": state,
        "since": live.at.isoformat() if live and state == "live" else None,
        "items": about["counts"],
        "encoders": about.get("encoders", {}),
        "backend": about["backend"],
        "recall_10": checks.get("recall_10"),
        "ndcg_10": checks.get("ndcg_10"),
        # what is on the disk: the engine reserves more than it fills
        "bytes": sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()),
    }


def _show(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("version", "state", "items", "encoders", "recall@10", "nDCG@10", "MB", box=None)
    order = {"live": 0, "previous": 1, "": 2}
    for one in sorted(found, key=lambda one: (order[one["state"]], one["version"])):
        since = f" since {datetime.fromisoformat(one['since']):%Y-%m-%d %H:%M}" if one["since"] else ""
        table.add_row(
            one["version"][:_SHORT],
            one["state"] + since,
            ", ".join(f"{count:,} {name}" for name, count in one["items"].items()),
            ", ".join(dict.fromkeys(digest[:8] for digest in one["encoders"].values())),
            *("" if one[name] is None else f"{one[name]:.4f}" for name in ("recall_10", "ndcg_10")),
            f"{one['bytes'] / 1e6:.1f}",
        )
    console = Console()
    console.width = max(console.width, 120)
    console.print(table)
