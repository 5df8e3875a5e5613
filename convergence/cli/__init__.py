"""The `convergence` command: only what Dagster has no command for. The one place that may import everything."""

import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convergence.cli.audit import audit
from convergence.cli.backup import backup, restore
from convergence.cli.catalog import catalog
from convergence.cli.chaos import chaos
from convergence.cli.contract import contract
from convergence.cli.docs import docs
from convergence.cli.erase import erase
from convergence.cli.feature_catalogue import features
from convergence.cli.index import index
from convergence.cli.land import land
from convergence.cli.lineage import impact, lineage
from convergence.cli.now import now
from convergence.cli.plan import plan
from convergence.cli.rebuild import with_rebuild
from convergence.cli.rejected import rejected
from convergence.cli.release import promote, release, rollback
from convergence.cli.repair import repair
from convergence.cli.replay import replay
from convergence.cli.reproduce import reproduce
from convergence.cli.search import search
from convergence.cli.serve import serve
from convergence.cli.services import services
from convergence.cli.verify import verify
from convergence.errors import ConvergenceError, LakeError, SettingsError

if TYPE_CHECKING:
    import dagster as dg

    from convergence.arrivals.topics import Topic
    from convergence.lake.tables import Lake
    from convergence.objects.store import Objects
    from convergence.search.snapshots import Snapshots

ROOT = Path(__file__).parents[2]

_EVENT_LOG = """
event_log_storage:
  module: dagster._core.storage.event_log
  class: ConsolidatedSqliteEventLogStorage
  config:
    base_dir: {home}
"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def cli(*, debug: bool) -> None:
    """Traceable, reproducible data and models on Dagster. Materialize, backfill and browse with `dagster` itself."""


for command in (
    *(audit, backup, catalog, chaos, contract, docs, erase, features, impact, index),
    *(land, lineage, now, plan, promote, rejected, release),
    *(repair, with_rebuild(replay), reproduce, restore, rollback, search, serve, services, verify),
):
    cli.add_command(command)


def main() -> None:
    """Entry point: an error of the platform, or of a disk, is one message and exit code 2; a failed check is 1."""
    _quieten()
    try:
        cli(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Abort:
        sys.exit(130)
    except Exception as error:
        if "--debug" in sys.argv or not (said := _said(error)):
            raise
        click.echo(said, err=True)
        sys.exit(2)


def _said(error: Exception) -> str | None:
    """The one line that a user can act on; None where there is none."""
    from convergence.cli.disk import told
    from resources.environments import settings

    if isinstance(error, ConvergenceError) and (type(error) is not LakeError or error.__cause__ is None):
        return f"{type(error).__name__}: {error}"
    disk = told(error, settings().home)
    words = (f"{type(error).__name__}: {error}" if isinstance(error, LakeError) else "", disk and f"DiskError: {disk}")
    return ". ".join(filter(None, words)) or None


@cli.command()
@click.argument("asset")
@click.option("--partition", default="", help="Partition key; none for a table without partitions.")
def manifest(asset: str, partition: str) -> None:
    """Print what a partition holds and what it was made from, as JSON."""
    from convergence.lake.manifests import manifest as read

    click.echo(json.dumps(read(lake(reading=True), asset, partition), indent=2))


@cli.group()
def new() -> None:
    """Make something from a template."""


@new.command("use-case")
@click.argument("name")
def use_case(name: str) -> None:
    """Add the use case NAME: assets, contract, checks and tests that are green at once."""
    from convergence.cli.scaffold import create

    for path in create(ROOT, name):
        click.echo(path.relative_to(ROOT))
    click.echo("Next: .venv/bin/convergence contract export")
    click.echo(f"      make setup; .venv/bin/python -m pytest tests/convergence_assets/{name}")


@cli.command()
@click.option("--use-case", "only", help="One use case; default: all.")
def demo(only: str | None) -> None:
    """Materialize everything that is missing or out of date, and show what came of it.

    Without --use-case each use case has a process of its own, as many at once as there are cores.
    """
    if only is None:
        from convergence.cli.side_by_side import run_side_by_side
        from convergence_assets import use_cases

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended
        arriving = [one for one in use_cases() if one.topics]
        longest_first = sorted(arriving, key=lambda one: -one.minutes)
        sys.exit(0 if run_side_by_side([one.name for one in longest_first]) else 1)
    from convergence.cli.demo import run_demo

    with instance() as inst:
        sys.exit(0 if run_demo(inst, only) else 1)


@cli.command()
@click.option("--partition", required=True, help="The partition to check.")
def check(partition: str) -> None:
    """Run the stand-alone asset checks on a partition; exit 1 if one fails or none ran."""
    from convergence.cli.demo import run_checks

    with instance() as inst:
        sys.exit(0 if run_checks(inst, partition) else 1)


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def ui(port: int) -> None:
    """Start Dagster's UI and daemon on loopback; stops with Ctrl-C, refuses a second start on the same home."""
    from convergence.cli.launcher import serve

    with instance():
        sys.exit(serve(ROOT, Path(os.environ["DAGSTER_HOME"]), port))


def topic_named(name: str) -> "Topic":
    """A declared topic. Raises click.BadParameter, which lists them."""
    from convergence_assets import topics

    if name not in (known := topics()):
        raise click.BadParameter(f"no topic {name!r}; there are: {', '.join(known)}")
    return known[name]


def kafka_address(given: str | None) -> str:
    """The Kafka cluster to talk to: `given`, else that of the settings. Raises SettingsError if there is neither."""
    from resources.environments import settings

    if address := given or settings().kafka:
        return address
    raise SettingsError(
        "no Kafka cluster is named: start one with `convergence services up kafka`, and set CONVERGENCE_KAFKA or "
        "--bootstrap to its address"
    )


def lake(*, reading: bool = False) -> "Lake":
    """The lake of this environment, without Dagster's configuration around it. `reading`: nothing is written to it."""
    from convergence.lake.tables import Lake
    from resources.environments import settings, storage_options

    here = settings()
    return Lake(here.lake_root, storage_options(here), home=str(here.home), reading=reading)


def objects() -> "Objects":
    """The object store of this environment."""
    from convergence.objects.store import Objects
    from resources.environments import object_options, settings

    here = settings()
    return Objects.at(here.objects_root, object_options(here))


def snapshots(use_case: str) -> "Snapshots":
    """The snapshots of a use case's index in this environment."""
    from convergence.search.snapshots import snapshots_at
    from resources.environments import settings

    here = settings()
    key = here.qdrant_key.get_secret_value() if here.qdrant_key else None
    return snapshots_at(here.home, use_case, here.qdrant, key)


@contextmanager
def instance() -> "Iterator[dg.DagsterInstance]":
    """The Dagster instance under CONVERGENCE_HOME, with the repository's dagster.yaml."""
    from dagster import DagsterInstance

    from convergence.services.processes import one_at_a_time
    from resources.environments import settings
    from resources.event_log import held_open
    from resources.recovery import fail_orphans

    home = settings().home.resolve() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")  # the planned events of a range in one transaction
    with one_at_a_time(home / ".opening"):  # two that create its databases at once leave them useless for ever
        (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text() + _EVENT_LOG.format(home=home))
        opened = DagsterInstance.get()
    with opened as inst, held_open(inst):
        fail_orphans(inst)
        yield inst


def _quieten() -> None:
    """The commands' own output is what counts; `dagster` itself still shows these."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for category in ("Preview", "Beta"):
        warnings.filterwarnings("ignore", message=rf".*currently in {category.lower()}")
