"""Which messages of a batch become rows: what keeps the contract, what is late, what is neither and why."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from pandera.errors import SchemaErrors

from convergence.arrivals.casting import exactly
from convergence.arrivals.codecs import BROKEN, OFFSET, Messages
from convergence.arrivals.evidence import lines, refusals, text_of
from convergence.arrivals.topics import ARRIVED, BROKER_TIME, SCHEMA_VERSION, Topic
from convergence.lake.contracts import Contract, reasons, schema_of
from convergence.lake.tables import DAY

# What was said beside a message's text, its header and the broker's time, is kept: it may be tried again
REJECTED = pl.Schema(
    {"source": pl.String(), **BROKEN, SCHEMA_VERSION: pl.String(), "broker_time": pl.Datetime("us", "UTC")}
)

_PROBLEM = "landing.problem"


@dataclass(frozen=True)
class Sorted:
    """Messages of a batch as rows: accepted and late have the contract's columns, rejected those of REJECTED."""

    accepted: pl.DataFrame
    late: pl.DataFrame
    rejected: pl.DataFrame


def sort_out(topic: Topic, messages: Mapping[str, Messages]) -> Sorted:
    """Judge messages (by application id) one by one: what keeps the contract, what is late, what is neither."""
    typed = pl.concat([_typed(topic, application, m) for application, m in messages.items()])
    rules = [pl.col(_PROBLEM), *_time_rules(topic), pl.lit(_broken_rules(topic.contract, typed.drop(_PROBLEM)))]
    reason = typed.select(pl.concat_str(rules, separator="; ", ignore_nulls=True).alias("reason"))["reason"]
    good = typed.drop(_PROBLEM)
    rejected = []
    if (bad := (reason != "")).any():
        texts = _texts(list(messages.values()), bad)
        beside = pl.concat([_beside(m.rows) for m in messages.values()]).filter(bad)
        found = good.filter(bad).select("source", OFFSET).with_columns(reason=reason.filter(bad), row=texts)
        rejected.append(found.hstack(beside))
        good = good.filter(~bad)
    for application, m in messages.items():
        broken = m.broken.select(pl.lit(application).alias("source"), *BROKEN)
        rejected.append(broken.hstack(_beside(m.broken)))
    rejected = pl.concat(rejected).select(REJECTED.names()).sort("source", OFFSET)
    is_late = good.select((pl.col(ARRIVED) - pl.col("event_time") > topic.late_after).fill_null(False)).to_series()
    return (
        Sorted(good.filter(~is_late), good.filter(is_late), rejected)
        if is_late.any()
        else Sorted(good, good.clear(), rejected)
    )


def _typed(topic: Topic, application: str, messages: Messages) -> pl.DataFrame:
    """The contract's columns, null where a value is no value of its type, and what is wrong with each row so far."""
    schema = schema_of(topic.contract)
    renames = {k: v for k, v in topic.renames.items() if k in messages.rows.columns}
    rows = messages.rows.drop(set(renames.values()) - set(renames), strict=False).rename(renames)
    rows = rows.with_columns(source=pl.lit(application))
    kinds = {name: schema[name] for name in [*topic.carried, ARRIVED]} | {SCHEMA_VERSION: pl.Int64()}
    unsaid = [name for name in (*kinds, BROKER_TIME) if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in unsaid)
    typed = rows.with_columns(
        exactly(rows[name], kind) for name, kind in {**kinds, BROKER_TIME: schema[ARRIVED]}.items()
    )
    columns = topic.contract.to_schema().columns
    problems = [pl.lit(f"no column {name}") for name in topic.carried if name in unsaid and not columns[name].nullable]
    problems += [pl.lit(refused) for n, k in kinds.items() if (refused := _refused(rows[n], typed[n], k)) is not None]
    known = ", ".join(map(str, sorted(topic.schema_versions)))
    version = pl.col(SCHEMA_VERSION)
    problems.append(
        pl.when(~version.is_in(topic.schema_versions)).then(
            pl.format("schema_version {}: this topic reads {}", version, pl.lit(known))
        )
    )
    first_known = (
        pl.col(BROKER_TIME) if topic.assumed_lateness is None else pl.col("event_time") + topic.assumed_lateness
    )
    typed = typed.with_columns(pl.col(ARRIVED).fill_null(first_known))
    problem = pl.concat_str(problems, separator="; ", ignore_nulls=True)
    return typed.with_columns(pl.col("event_time").dt.date().alias(DAY)).select(
        *schema.names(), pl.when(problem != "").then(problem).alias(_PROBLEM)
    )


def _refused(offered: pl.Series, typed: pl.Series, kind: pl.DataType) -> pl.Series | None:
    """Why a value that was offered is none of `kind`, row by row; None where all are."""
    places = (offered.is_not_null() & typed.is_null()).arg_true()
    if not len(places):
        return None
    said = pl.Series(refusals(offered.gather(places), kind))
    return pl.Series([None], dtype=pl.String).new_from_index(0, len(offered)).scatter(places, said)


def _beside(rows: pl.DataFrame) -> pl.DataFrame:
    names = {SCHEMA_VERSION: SCHEMA_VERSION, "broker_time": BROKER_TIME}
    unsaid = pl.Series([None]).new_from_index(0, rows.height)
    return pl.DataFrame(
        {new: exactly(rows[old] if old in rows.columns else unsaid, REJECTED[new]) for new, old in names.items()}
    )


def _time_rules(topic: Topic) -> list[pl.Expr]:
    ahead = pl.col("event_time") - pl.col(ARRIVED) > topic.clock_skew
    outside = ~pl.col(DAY).is_between(topic.first_day, topic.last_day)
    return [
        pl.when(ahead).then(pl.lit(f"event_time is more than {topic.clock_skew} after arrived_at")),
        pl.when(outside).then(pl.lit(f"outside_partitions: {topic.first_day} to {topic.last_day}")),
    ]


def _texts(messages: list[Messages], bad: pl.Series) -> pl.Series:
    """The original text of the rows marked `bad`, which are numbered through all of `messages`."""
    texts: list[str | None] = []
    start = 0
    for part in messages:
        mine = bad.slice(start, part.rows.height)
        start += part.rows.height
        if part.raw is not None:
            texts += [text_of(part.raw[i]) for i in mine.arg_true()]
        elif (found := part.rows.drop(OFFSET).filter(mine)).width:
            texts += lines(found)
        else:
            texts += [None] * found.height
    return pl.Series("row", texts, pl.String)


def _broken_rules(contract: Contract, rows: pl.DataFrame) -> pl.Series:
    """The contract rules that each row breaks, in words; null where it keeps them all.

    A rule that judges rows as a whole, or fails instead of judging them, is asked again by halves, so that it costs
    only the rows that it is about.
    """
    whole: str | None = None
    try:
        contract.validate(rows, lazy=True)
    except SchemaErrors as error:
        found = reasons(error)
        if found["index"].null_count() == 0:
            by_row = found.group_by("index").agg(pl.col("reason").unique().sort().str.join("; "))
            numbered = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("index"))
            return numbered.join(by_row, on="index", how="left", maintain_order="left")["reason"]
        whole = "; ".join(found["reason"].unique().sort())
    except (Exception, pl.exceptions.PanicException) as error:  # whatever it is, it is not the other messages' fault
        whole = f"cannot be judged: {type(error).__name__}"
    if whole is None or rows.height <= 1:
        return pl.Series("reason", [whole] * rows.height, dtype=pl.String)
    half = rows.height // 2
    return pl.concat([_broken_rules(contract, part) for part in (rows.head(half), rows.tail(-half))])
