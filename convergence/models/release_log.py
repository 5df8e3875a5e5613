"""What was released when: promotions, rollbacks and canaries as entries of the audit log; the newest is the release.

An entry holds the whole release, so going back is one more entry and moves model, feature view and online namespace at
once.
"""

from datetime import date
from typing import Any

import obstore
import polars as pl
from obstore.store import ObjectStore

from convergence.errors import ModelError
from convergence.models import kept
from convergence.models.releasable import Candidate, Span
from convergence.models.releases import Release
from convergence.versions import audit
from convergence.versions.audit import AuditLog, Draft, Entry

_CHANGES = ("promote", "rollback")  # of the champion
RELEASES = (*_CHANGES, "canary", "canary_end")


def newest(log: AuditLog, name: str) -> Release | None:
    """The release by the log, which is the truth; None where nothing was ever promoted."""
    entry = log.newest(name, RELEASES)
    return release_of(entry) if entry else None


def promote(
    log: AuditLog, name: str, candidate: Candidate, span: Span, *, actor: str, reason: str, override: str | None = None
) -> Release:
    """Make a candidate the champion, with its feature view and online namespace.

    Args:
        override: why a candidate that the gate refused is promoted all the same; it goes on record.

    Raises:
        ModelError: the gate refused the candidate and nobody overrode it, which goes on record too; or it is champion.
    """
    file_hash = _admit(log, name, candidate, actor=actor, override=override)

    def draft() -> Draft:
        there = log.newest(name, RELEASES)
        if there and there.detail["release"] == _record(candidate):
            raise ModelError(f"{candidate.model_version} is the champion of {name} already; nothing was changed")
        detail = {
            "release": _record(candidate),
            "kept": file_hash,
            **_scores(span),
            "before": _origin(there) if there else None,
            "reason": reason,
            "gate": candidate.gate,
            "override": override,
        }
        return Draft(actor, "promote", name, detail)

    return release_of(log.append(draft))


def rollback(log: AuditLog, name: str, span: Span, *, actor: str, reason: str, to: str | None = None) -> Release:
    """Go back to the release before the present one, or to the last one of a version: model, view and namespace.

    Raises:
        ModelError: there is no such release, or its model is not as it was; nothing was changed.
    """

    def draft() -> Draft:
        there = _serving(log, name)
        target = _named(log, name, to) if to else _before(log, name, there)
        if target.detail["release"] == there.detail["release"]:
            raise ModelError(f"{to} is the champion of {name} already; nothing was changed")
        _kept(log.store, target)
        detail = {
            **{k: target.detail[k] for k in ("release", "kept", "before")},
            **_scores(span),
            "origin": _origin(target),
            "left": there.detail["release"]["model_version"],
            "reason": reason,
        }
        return Draft(actor, "rollback", name, detail)

    return release_of(log.append(draft))


def start_canary(
    log: AuditLog,
    name: str,
    candidate: Candidate,
    share: float,
    *,
    actor: str,
    reason: str,
    override: str | None = None,
) -> Release:
    """Let a candidate answer a share of the requests beside the champion, which stays what it is.

    Raises:
        ModelError: the gate refused it and nobody overrode that; there is no champion to fall back to; or it reads
            another feature view or namespace than the champion, which one request cannot serve both from.
    """
    if not 0 < share < 1:
        raise ModelError(f"the share of a canary lies between 0 and 1, both excluded; found {share}")
    _admit(log, name, candidate, actor=actor, override=override)

    def draft() -> Draft:
        there = _serving(log, name)
        mine, champion = _record(candidate), there.detail["release"]
        differs = [k for k in ("view", "fingerprint", "namespace") if mine[k] != champion[k]]
        if differs or mine == champion:
            what = f"its {', '.join(differs)} differ" if differs else "it is the champion"
            raise ModelError(f"{candidate.model_version} cannot be tried beside {champion['model_version']}: {what}")
        canary = {"model_version": mine["model_version"], "sha256": mine["sha256"], "share": share}
        detail = {**_champion(there), "canary": canary, "reason": reason, "gate": candidate.gate, "override": override}
        return Draft(actor, "canary", name, detail)

    return release_of(log.append(draft))


def end_canary(
    log: AuditLog, name: str, model_version: str, *, actor: str, reason: str, release: int | None = None
) -> Release:
    """Take a challenger's requests away; changes nothing if this one is not being tried (any more).

    `release`: the number of the release that tries it; a later trial of the same version goes on.
    """
    there = _serving(log, name)

    def draft() -> Draft:
        nonlocal there
        there = _serving(log, name)
        there_tried = (there.detail.get("canary") or {}).get("model_version")
        if there_tried != model_version or release not in (None, there.number):
            raise _NotTried
        return Draft(actor, "canary_end", name, {**_champion(there), "left": model_version, "reason": reason})

    try:
        return release_of(log.append(draft))
    except _NotTried:
        return release_of(there)


def previous(log: AuditLog, name: str) -> Release | None:
    """The release that a rollback would go back to; None where there is none."""
    before = _serving(log, name).detail["before"]
    return release_of(log.entry(before)) if before else None


def released(log: AuditLog, name: str) -> pl.DataFrame:
    """Every promotion and rollback with the row of its model, oldest first, as `promotions.champion_as_of` wants them.

    `release` (number of the entry), `valid_from`, `counts_from`, `model_as_of`, and the other columns of the models
    table; where there is none, only these four.
    """
    dates = dict.fromkeys(("valid_from", "counts_from", "model_as_of"), pl.Date())
    parts = [pl.DataFrame(schema={"release": pl.Int64(), **dates})]
    for entry in log.entries(name):
        if entry.action in _CHANGES:
            span = {k: date.fromisoformat(entry.detail[k]) for k in ("valid_from", "counts_from")}
            row = _kept(log.store, entry).rename({"event_date": "model_as_of"})
            parts.append(
                row.with_columns(release=pl.lit(entry.number, pl.Int64), **{k: pl.lit(v) for k, v in span.items()})
            )
    return pl.concat(parts, how="diagonal")


def copy(store: ObjectStore, to: ObjectStore) -> None:
    """The log, and the models that were ever released, into other files."""
    for folder in (audit.FOLDER, kept.FOLDER):
        for batch in obstore.list(store, prefix=f"{folder}/"):
            for found in batch:
                obstore.put(to, found["path"], obstore.get(store, found["path"]).bytes())


class _NotTried(Exception):
    """The challenger is no canary any more."""


def _admit(log: AuditLog, name: str, candidate: Candidate, *, actor: str, override: str | None) -> str:
    """Keep a candidate's row for good, if it may be released; else put the refusal on record and raise.

    Returns the hash of the row as it is kept.
    """
    if not candidate.passed and not override:
        detail = {"model_version": candidate.model_version, "gate": candidate.gate}
        log.append(Draft(actor, "refuse", name, detail))
        raise ModelError(
            f"the gate refused {candidate.model_version}, so {name} stays as it is: {candidate.gate} "
            "Next: train again, or `--override REASON`, which goes on record"
        )
    return kept.keep(log.store, candidate.row)


def _kept(store: ObjectStore, entry: Entry) -> pl.DataFrame:
    return kept.kept(store, entry.detail["release"]["sha256"], entry.detail["kept"])


def _serving(log: AuditLog, name: str) -> Entry:
    there = log.newest(name, RELEASES)
    if there is None:
        raise ModelError(f"nothing was ever released as {name}: `convergence promote {name}` first")
    return there


def _before(log: AuditLog, name: str, there: Entry) -> Entry:
    """The promotion that the present champion took the place of."""
    number = there.detail["before"]
    if number is None:
        raise ModelError(
            f"{there.detail['release']['model_version']} is the first release of {name}: there is none to go back to; "
            f"`convergence promote {name} --version V` takes another version"
        )
    return log.entry(number)


def _named(log: AuditLog, name: str, version: str) -> Entry:
    """The newest promotion of a version."""
    promotions = [e for e in log.entries(name) if e.action == "promote"]
    found = [e for e in promotions if e.detail["release"]["model_version"] == version]
    if not found:
        there = ", ".join(dict.fromkeys(e.detail["release"]["model_version"] for e in promotions))
        raise ModelError(f"{version} was never released as {name}; there were: {there}; nothing was changed")
    return found[-1]


def _origin(entry: Entry) -> int:
    """The promotion that a release goes back to."""
    return entry.detail.get("origin") or entry.number


def _champion(entry: Entry) -> dict[str, Any]:
    """What an entry about a challenger repeats of the champion."""
    return {k: entry.detail[k] for k in ("release", "kept", "before")} | {"origin": _origin(entry)}


def _record(candidate: Candidate) -> dict[str, str]:
    return {k: getattr(candidate, k) for k in ("model_version", "sha256", "view", "fingerprint", "namespace")}


def _scores(span: Span) -> dict[str, str]:
    return {"valid_from": str(span.valid_from), "counts_from": str(span.counts_from)}


def release_of(entry: Entry) -> Release:
    """The release that an entry of RELEASES makes."""
    return Release(entry.subject, entry.number, **entry.detail["release"], canary=entry.detail.get("canary"))
