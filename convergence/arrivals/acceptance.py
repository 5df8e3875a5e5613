"""Which messages of a batch become rows: what keeps the contract, what is late, what is neither and why."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from pandera.errors import SchemaErrors

from convergence.arrivals.codecs import BROKEN, OFFSET, Messages, within_calendar
from convergence.arrivals.topics import ARRIVED, BROKER_TIME, SCHEMA_VERSION, Topic
from convergence.lake.contracts import reasons, schema_of
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
    rules = [pl.col(_PROBLEM), *_time_rules(topic), pl.lit(_broken_rules(topic, typed.drop(_PROBLEM)))]
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
    carried = topic.carried
    absent = [name for name in carried if name not in rows.columns]
    unsaid = [name for name in (*absent, ARRIVED, SCHEMA_VERSION) if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in unsaid)
    if BROKER_TIME not in rows.columns:
        rows = rows.with_columns(pl.lit(None, schema[ARRIVED]).alias(BROKER_TIME))
    kinds = {name: schema[name] for name in [*carried, ARRIVED]} | {SCHEMA_VERSION: pl.Int64()}
    typed = rows.with_columns(_cast(rows, n, kind).alias(n) for n, kind in kinds.items())
    columns = topic.contract.to_schema().columns
    problems = [pl.lit(f"no column {name}") for name in absent if not columns[name].nullable]
    problems += [
        pl.when(rows[n].is_not_null() & typed[n].is_null()).then(pl.lit(f"{n}: not a {kind}"))
        for n, kind in kinds.items()
        if n not in absent and rows.schema[n] != kind
    ]
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


def _beside(rows: pl.DataFrame) -> pl.DataFrame:
    names = {SCHEMA_VERSION: SCHEMA_VERSION, "broker_time": BROKER_TIME}
    said = {new: pl.col(name) if name in rows.columns else pl.lit(None) for new, name in names.items()}
    return rows.with_columns(what.cast(REJECTED[new]).alias(new) for new, what in said.items()).select(*names)


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
            texts += [part.raw[i].decode(errors="replace") for i in mine.arg_true()]
        elif (found := part.rows.drop(OFFSET).filter(mine)).width:
            texts += found.select(pl.struct(pl.all()).struct.json_encode()).to_series().to_list()
        else:
            texts += [None] * found.height
    return pl.Series("row", texts, pl.String)


def _cast(rows: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Expr:
    """The column as `kind`; null where the value cannot be told exactly."""
    column, there = pl.col(name), rows.schema[name]
    if isinstance(kind, pl.Datetime):
        if there == pl.String:
            return within_calendar(pl.lit(_times(rows[name])), kind)
        if isinstance(there, pl.Datetime):
            utc = column.dt.convert_time_zone("UTC") if there.time_zone else column.dt.replace_time_zone("UTC")
            return within_calendar(utc.dt.cast_time_unit("us"), kind)
    if kind == pl.Date and there == pl.String:
        return column.str.to_date("%Y-%m-%d", strict=False)
    if isinstance(kind, pl.Decimal) and there != kind:  # no digit is rounded away
        exact = column.cast(pl.Decimal(38, 18), strict=False)
        return pl.when(exact == exact.round(kind.scale)).then(exact).cast(kind, strict=False)
    if kind == pl.Boolean and there == pl.String:
        return column.str.to_lowercase().replace_strict(
            {"true": True, "1": True, "false": False, "0": False}, default=None
        )
    if kind == pl.Boolean and there.is_numeric():
        return pl.when(column.is_in([0, 1])).then(column == 1)
    if kind.is_integer() and there.is_float():
        return pl.when(column == column.floor()).then(column).cast(kind, strict=False)
    return column.cast(kind, strict=False)


def _times(text: pl.Series) -> pl.Series:
    """ISO 8601 as UTC. A column is read in the form of its first value, which is quick, the odd value by itself."""
    first = str(text.drop_nulls().head(1).to_list()[0]) if text.null_count() < len(text) else ""
    form = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?(Z|\+00:00)?", first)
    times = pl.Series(text.name, [None], pl.Datetime("us", "UTC")).new_from_index(0, len(text))
    if form:
        written = f"%Y-%m-%dT%H:%M:%S{f'.%{len(form[1]) - 1}f' if form[1] else ''}{form[2] or ''}"
        times = text.str.to_datetime(written, time_unit="us", time_zone="UTC", strict=False)
    odd = (times.is_null() & text.is_not_null()).arg_true()
    if odd.len():
        by_itself = text.gather(odd).to_frame("text").select(_time(pl.col("text"))).to_series()
        times = times.scatter(odd, by_itself)
    return times


def _time(text: pl.Expr) -> pl.Expr:
    """ISO 8601 as UTC: a date, or a date and time, with or without seconds, fraction and offset, row by row."""
    text = text.str.strip_chars().str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    zoned = pl.when(text.str.contains(r"[+-]\d\d:?\d\d$")).then(text).otherwise(text + "+00:00")
    formats = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")
    times = [zoned.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False) for f in formats]
    return pl.coalesce(*times, text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us", "UTC")))


def _broken_rules(topic: Topic, typed: pl.DataFrame) -> pl.Series:
    """The contract rules that each row breaks, in words; null where it keeps them all."""
    try:
        topic.contract.validate(typed, lazy=True)
    except SchemaErrors as error:
        by_row = (
            reasons(error).drop_nulls("index").group_by("index").agg(pl.col("reason").unique().sort().str.join("; "))
        )
        numbered = typed.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("index"))
        return numbered.join(by_row, on="index", how="left", maintain_order="left")["reason"]
    return pl.Series("reason", [None] * typed.height, dtype=pl.String)
