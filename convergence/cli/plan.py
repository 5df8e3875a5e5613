"""`convergence plan`: what would be made anew, now or with other encoders, and what it would take; changes nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from convergence.cli.catalog import PRICES
from convergence.cli.files import FileToRead
from convergence.search.use_case import ALIGNED, SAMPLE

if TYPE_CHECKING:
    from convergence.catalog.prices import Prices
    from convergence.lake.tables import Lake
    from convergence.observability.usage import Usage
    from convergence.search.encoders import Precision, Role, StoredEncoder
    from convergence.search.use_case import Reencoding
    from convergence.versions.plan import Step

_CHECKPOINT = "Checkpoint: package:NAME, jar:NAME, folder:PATH, hub:ORG/NAME, several with +"


@dataclass(frozen=True)
class Exchanged:
    """An encoder that is not that of now; `made` is None where only a fit can tell, `took` what exporting it took."""

    reason: str
    made: "StoredEncoder | None"
    took: "Usage | None"


@click.command()
@click.option("--use-case", help="Default: the one that is searched.")
@click.option("--text-encoder", "text", help=f"{_CHECKPOINT}.")
@click.option("--code-encoder", "code", help="The same.")
@click.option("--image-encoder", "image", help='The same, of CLIP or SigLIP; or "aligned".')
@click.option("--precision", type=click.Choice(["int8", "fp32"]), help="Of the encoders; alone: of those of now.")
@click.option("--prices", type=FileToRead(), help=f"What work costs; default: {PRICES}.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def plan(
    use_case: str | None,
    text: str | None,
    code: str | None,
    image: str | None,
    precision: "Precision | None",
    prices: Path | None,
    *,
    as_json: bool,
) -> None:
    """Tell which tables would be made anew with these encoders, and what that would take; changes nothing.

    Without encoders: what the reconcile sensor would make anew now.
    """
    from convergence.catalog.prices import read_prices
    from convergence.cli import ROOT, lake
    from convergence.cli.search import searched, searched_use_cases

    given: dict[Role, str | None] = {"text": text, "code": code, "image": image}
    named: dict[Role, str] = {role: name for role, name in given.items() if name}
    use_case = use_case or searched(None).name
    there = {name: one.reencoding for name, one in searched_use_cases().items() if one.reencoding}
    if (named or precision) and use_case not in there:
        raise click.UsageError(f"encoders can be exchanged in {', '.join(there)} only: leave --use-case out")
    asked, here = read_prices(prices or ROOT / PRICES), lake()
    encoders = there[use_case]() if use_case in there else None
    exchanged = _exchanged(here, encoders, named, precision) if encoders and (named or precision) else None
    steps = _steps(here, use_case, encoders, exchanged)
    if as_json:
        click.echo(json.dumps([_told(step, asked) for step in steps], indent=2))
    else:
        _show(use_case, steps, asked)


def _exchanged(
    lake: "Lake", encoders: "Reencoding", named: "dict[Role, str]", precision: "Precision | None"
) -> "dict[Role, Exchanged]":
    """The encoders that would be others than now. Raises EncoderError for a checkpoint that cannot be had."""
    from convergence.observability.usage import Meter
    from convergence.search import image_backbone
    from resources.environments import settings

    here = settings()
    configured: dict[Role, str] = {"text": here.text_encoder, "code": here.code_encoder, "image": here.image_encoder}
    found: dict[Role, Exchanged] = {}
    wanted: dict[Role, str] = {**configured, **named} if precision else named
    for role, checkpoint in wanted.items():
        now = encoders.of_now(lake, role)
        if checkpoint == ALIGNED and role == "image":
            if now is None or now.source != image_backbone.SOURCE:
                found[role] = Exchanged("aligned instead", None, None)
            continue
        meter = Meter()
        made = encoders.of_checkpoint(role, checkpoint, precision or here.encoder_precision)
        if now is None or made.digest != now.digest:
            before = f"{now.name} {now.precision}" if now else "none"
            found[role] = Exchanged(f"{made.name} {made.precision} instead of {before}", made, meter.read())
    return found


def _steps(
    lake: "Lake", use_case: str, encoders: "Reencoding | None", exchanged: "Mapping[Role, Exchanged] | None"
) -> "list[Step]":
    from convergence.cli import instance
    from convergence.lake.generations import use_case_of
    from convergence.lake.manifests import states
    from convergence.versions.plan import steps
    from convergence_assets.definitions import defs
    from resources.costs import usages
    from resources.graph import lake_nodes
    from resources.keys import key_of
    from sensors.reconcile import REBUILT

    every = lake_nodes(defs.resolve_all_asset_specs())
    nodes = [node for node in every if use_case_of(node.table) == use_case and node.layer != "operations"]
    if not nodes:
        known = dict.fromkeys(use_case_of(node.table) for node in every)
        raise click.BadParameter(f"no use case {use_case!r}; there are: {', '.join(known)}")
    with instance() as inst:
        took = {node.table: usages(inst, key_of(node.table), len(node.partitions)) for node in nodes}
    changed = None if exchanged is None else {f"{use_case}/{role}_encoder": e.reason for role, e in exchanged.items()}
    held = states(lake, [node.table for node in every])
    found = steps(nodes, held, took, by_itself=REBUILT, changed=changed)
    if encoders is None:
        return found
    return [_weighed(step, lake, use_case, encoders, exchanged or {}, [s.table for s in found]) for step in found]


def _weighed(
    step: "Step",
    lake: "Lake",
    use_case: str,
    encoders: "Reencoding",
    exchanged: "Mapping[Role, Exchanged]",
    planned: Sequence[str],
) -> "Step":
    """With figures of the encoders themselves, where the step makes one or makes vectors."""
    from convergence.cli import objects
    from convergence.search.encoders import Role
    from convergence.versions.plan import encoding

    roles: tuple[Role, ...] = get_args(Role)
    kinds = ("encoder", "embeddings")
    tables: dict[str, tuple[Role, str]] = {
        f"{use_case}/{role}_{kind}": (role, kind) for role in roles for kind in kinds
    }
    role, kind = tables.get(step.table, (None, ""))
    if role is None:
        return step
    new = exchanged.get(role)
    if kind == "encoder":
        return replace(step, usage=new.took, unknown=0, basis="exporting it") if new and new.took else step
    now, wanted = encoders.of_now(lake, role), encoders.contents(lake, role, step.partitions)
    made = new.made if new else None
    unknown = made is None and f"{use_case}/{role}_encoder" in planned  # it will be fitted anew
    encoder = made or now
    graph = encoder.document.digest if encoder and not unknown else None
    split = encoders.split(lake, role, wanted, graph)
    each = encoders.timed(encoder, wanted, objects()) if encoder and split[0] else None
    return encoding(step, split, each, f"timed on {min(SAMPLE, wanted.height)}")


def _told(step: "Step", prices: "Prices") -> dict[str, Any]:
    """A step as JSON has it, with what it costs; figures are null where nothing like it was ever made."""
    from convergence.versions.plan import known

    said = {name: value for name, value in asdict(step).items() if name not in ("usage", "encoded")}
    anew, kept = step.encoded or (None, None)
    figures: dict[str, float | None] = {**step.usage._asdict(), "cost": prices.of_making(*step.usage)}
    if not known(step):
        figures = dict.fromkeys(figures)
    return {**said, **figures, "currency": prices.currency, "encoded_anew": anew, "vectors_kept": kept}


def _show(use_case: str, steps: "Sequence[Step]", prices: "Prices") -> None:
    from rich.console import Console
    from rich.table import Table

    from convergence.versions.plan import known, total

    if not steps:
        click.echo(f"{use_case}: nothing would be made anew")
        return
    table = Table("table", "made by", "partitions", "rows", "encoded", "kept", "CPU s", "wall s", prices.currency,
                  "estimated", box=None)  # fmt: skip
    for step in steps:
        encoded = ("", "") if step.encoded is None else (f"{number:,}" for number in step.encoded)
        is_known = known(step)
        basis = ", ".join([*[step.basis] * is_known, *[f"{step.unknown} were never made"] * bool(step.unknown)])
        figures = (f"{step.usage.cpu_seconds:,.1f}", f"{step.usage.elapsed_seconds:,.1f}",
                   f"{prices.of_making(*step.usage):.4f}") if is_known else ("?", "?", "?")  # fmt: skip
        table.add_row(step.table.partition("/")[2], "itself" if step.by_itself else "you", str(len(step.partitions)),
                      f"{step.rows:,}", *encoded, *figures, basis)  # fmt: skip
    console = Console()
    console.width = max(console.width, 130)
    console.print(table)
    whole = total(step.usage for step in steps)
    cost = sum(prices.of_making(*step.usage) for step in steps)
    about = "at least" if any(step.unknown for step in steps) else "about"
    click.echo(f"{use_case}: {len(steps)} tables, {sum(len(s.partitions) for s in steps)} partitions; {about} "
               f"{whole.cpu_seconds:,.0f} s of CPU, {whole.elapsed_seconds:,.0f} s one after another, "
               f"{cost:.4f} {prices.currency}. Nothing was changed")  # fmt: skip
    for reason in dict.fromkeys(f"{s.table}: {s.reason}" for s in steps if s.table.endswith("_encoder")):
        click.echo(f"  {reason}")
