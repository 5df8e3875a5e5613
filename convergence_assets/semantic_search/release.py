"""Which index answers from each day on: the gate's decision, and the one switch of the alias that follows from it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns, schema_of
from convergence.lake.tables import Lake
from convergence.search.use_case import SearchedUseCase
from convergence.versions.audit import AuditLog, Draft
from convergence_assets.semantic_search.evaluation import FUSED, helped
from convergence_assets.semantic_search.index import ONE_AT_A_TIME, USE_CASE
from convergence_assets.semantic_search.items import DAILY, OWNED
from resources.keys import table_of
from resources.lake import Described, lake_asset

SUBJECT = SearchedUseCase(USE_CASE).subject  # of the audit log
LEAST_RECALL = 0.98  # of exact search
MOST_LOST = 0.02  # of nDCG on any judged set, against what answers now
UNJUDGED = "judged as it is (search_quality is of other encoders or fusions: materialize it)"
_NDCG = "nDCG@10 on "
_JUDGED = {
    "from": ["search_index.recall_10", "search_index.ranking", "search_quality.ndcg_10", "search_quality.ranking"]
}


class SearchRelease(pa.DataFrameModel):
    """The gate's decision on the index of a day."""

    event_date: date = pa.Field(unique=True, description="The day")
    challenger_version: str = pa.Field(description="The day's index", metadata={"from": ["search_index.index_version"]})
    index_version: str = pa.Field(description="What answers from then on; empty: nothing yet")
    promoted: bool = pa.Field(description="Whether the day's index does", metadata=_JUDGED)
    reason: str = pa.Field(description="Why", metadata=_JUDGED)
    gate: str = pa.Field(description="Each rule with value and limit, as JSON", metadata=_JUDGED)
    quality: str = pa.Field(
        description="nDCG@10 of what answers, by judged set, as JSON", metadata={"from": ["search_quality.ndcg_10"]}
    )

    class Config(StrictColumns):
        """Columns are as declared."""


def decide(
    index: dict[str, Any],
    quality: dict[str, float],
    champion: dict[str, Any] | None,
    *,
    loss: str | None = None,
    judged: bool = True,
) -> dict[str, Any]:
    """The SearchRelease row of a day.

    Args:
        index: its SearchIndex row.
        quality: nDCG@10 of the fused ranking by judged set, by the encoders and fusions of now.
        champion: the newest SearchRelease row before; None: nothing answers yet.
        loss: where the fused ranking finds less than the better of its parts, in words; None: nowhere.
        judged: whether `quality` is of the index's own encoders and fusions.
    """
    known = json.loads(champion["quality"]) if champion else {}
    rules = [_rule("recall of exact search", index["recall_10"], LEAST_RECALL, index["recall_10"] >= LEAST_RECALL)]
    rules += [
        _rule(f"{_NDCG}{name}", quality.get(name, 0.0), was - MOST_LOST, quality.get(name, 0.0) >= was - MOST_LOST)
        for name, was in sorted(known.items())
    ]
    rules += [_rule(f"fusion ({loss})", 1.0, 0.0, passed=False)] if loss else []
    rules += [] if judged else [_rule(UNJUDGED, 1.0, 0.0, passed=False)]
    refused = [rule["rule"] for rule in rules if not rule["passed"]]
    promoted = not refused
    answers = index["index_version"] if promoted else champion["index_version"] if champion else ""
    return {
        "event_date": index["event_date"],
        "challenger_version": index["index_version"],
        "index_version": answers,
        "promoted": promoted,
        "reason": f"refused: {', '.join(refused)}" if refused else "every rule holds",
        "gate": json.dumps(rules),
        "quality": json.dumps(quality if promoted else known, sort_keys=True),
    }


def _rule(name: str, value: float, limit: float, passed: bool) -> dict[str, Any]:
    return {"rule": name, "value": round(value, 6), "limit": round(limit, 6), "passed": passed}


def _said(rows: pl.DataFrame) -> dict[str, Any]:
    row = rows.row(0, named=True)
    rules = dg.MetadataValue.table([dg.TableRecord(rule) for rule in json.loads(row["gate"])])
    return {"index": row["index_version"], "promoted": row["promoted"], "reason": row["reason"], "gate": rules}


@lake_asset(
    contract=SearchRelease,
    partitions_def=DAILY,
    ins={n: dg.AssetIn(key_prefix=USE_CASE) for n in ("search_index", "search_quality")},
    describe=_said,
    metadata={"reads_own_past": True, "reads_releases": True},  # for `convergence reproduce`
    required_resource_keys={"indexes"},
    pool=ONE_AT_A_TIME,
    code_version="3",
    kinds={"qdrant", "deltalake"},
    tags={"layer": "index"},
    **OWNED,
)
def search_releases(
    context: dg.AssetExecutionContext, search_index: pl.LazyFrame, search_quality: pl.LazyFrame
) -> Described:
    """Which index answers from each day on, decided by the gate.

    Grain: day. An index must find what exact search finds; search with its encoders and fusions must have been judged,
    and must not have become worse on any judged set than what answers, which people may have chosen. The newest day's
    index goes live by one replacement of the alias, on record in the audit log; a refused one leaves what answers in
    place.
    """
    found = search_quality.collect()
    quality = dict(found.filter(candidate=FUSED).select("query_set", "ndcg_10").iter_rows())
    judged = set(found["ranking"]) if "ranking" in found.columns else set()
    verdict = helped(found)  # its check blocks one run only, and this may be another
    blocks = not verdict.passed and verdict.severity == dg.AssetCheckSeverity.ERROR
    loss = (verdict.description or "").partition(". Next")[0] if blocks else None
    champion, rows = _before(context), []
    for index in search_index.sort("event_date").collect().iter_rows(named=True):
        champion = decide(index, quality, champion, loss=loss, judged=judged == {index.get("ranking")})
        rows.append(champion)
    said = _switched(context, rows[-1]) if rows else "no index"
    context.log.info(said)
    days = {str(row["event_date"]): {"alias": said if row is rows[-1] else "a later day follows"} for row in rows}
    return Described(pl.DataFrame(rows, schema=schema_of(SearchRelease)), days)


def _before(context: dg.AssetExecutionContext) -> dict[str, Any] | None:
    """The newest decision of an earlier day; where all days are made anew, the newest: what answers until then."""
    lake, table = context.resources.lake.lake, table_of(context.asset_key)
    if lake.open(table) is None:
        return None
    made = lake.scan(table).sort("event_date").collect()
    earlier = made.filter(pl.col("event_date") < date.fromisoformat(context.partition_keys[0]))
    by_people = [e.detail for e in AuditLog(lake.store).entries(SUBJECT) if "reason" in e.detail]
    return answering((made if earlier.is_empty() else earlier).to_dicts(), by_people)


def answering(decisions: Sequence[dict[str, Any]], by_people: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What answers after these decisions, as the SearchRelease row that later indexes are held to; None: nothing does.

    Args:
        decisions: SearchRelease rows, by day.
        by_people: switches and rollbacks as the audit log has them, oldest first; one counts for the days after its
            `day`, until the gate lets an index of a later day answer.
    """
    if not decisions:
        return None
    newest = decisions[-1]
    promoted = max((str(row["event_date"]) for row in decisions if row["promoted"]), default="")
    for said in by_people:
        day = said.get("day")
        if day is None or not promoted <= day <= str(newest["event_date"]):
            continue
        of = [row for row in decisions if row["challenger_version"] == said["index_version"]]
        if of:
            found = {
                r["rule"].removeprefix(_NDCG): r["value"] for r in json.loads(of[-1]["gate"]) if _NDCG in r["rule"]
            }
            quality = of[-1]["quality"] if of[-1]["promoted"] else json.dumps(found, sort_keys=True)
            newest = newest | {"index_version": said["index_version"], "quality": quality}
    return newest


def _switched(context: dg.AssetExecutionContext, decision: dict[str, Any]) -> str:
    """Let the newest day's index go live, if the gate promoted it; what was done, in words.

    Raises IndexMissing or IndexConflict where it cannot: the row would say that it answers.
    """
    lake: Lake = context.resources.lake.lake
    newest = lake.scan(f"{USE_CASE}/search_index").select(pl.col("event_date").max()).collect().item()
    version = decision["challenger_version"]
    if not decision["promoted"] or decision["event_date"] != newest:
        return "left as it is: " + ("a newer day is there" if decision["promoted"] else decision["reason"])
    snapshots = context.resources.indexes.snapshots(USE_CASE)
    if not snapshots.versions():
        return "left as it is: no index is on disk here, only its rows"
    live = snapshots.live()
    before = live.version if live else None
    detail = {"index_version": version, "before": before, "day": str(newest)}
    entry = Draft(f"run {context.run_id}", "switch_index", SUBJECT, detail)
    snapshots.switch(version, expected=before, record=lambda: AuditLog(lake.store).append(entry))
    if before == version:
        return f"{version[:12]} is live already"
    snapshots.prune(version)
    return f"{version[:12]} went live"
