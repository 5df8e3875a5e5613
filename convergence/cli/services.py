"""`convergence services`: servers that run beside the platform and outlive the command that started them."""

import re
import sys
from pathlib import Path

import click

from convergence.services.kafka import PORT, KafkaBroker, install_kafka

_SERVICE = click.argument("service", type=click.Choice(["kafka"]))


@click.group()
def services() -> None:
    """Start, stop and list the servers that the platform can run itself."""


@services.command()
@_SERVICE
@click.option("--port", type=click.IntRange(1024, 65534), help=f"Default: the one it had last, or {PORT}.")
def up(service: str, port: int | None) -> None:
    """Start SERVICE on loopback, with its data under CONVERGENCE_HOME. One that runs is left alone.

    Kafka also takes the next port, for its controller.
    """
    folder = _folder(service)
    broker = KafkaBroker(folder, install_kafka(folder.parent), port=port or _last_port(folder) or PORT)
    began = broker.start()
    state = "is up" if began else "was up already"
    click.echo(f"{service} {state} at {broker.bootstrap} (process {broker.pid}); log: {broker.log}")
    click.echo(f"Next: export CONVERGENCE_KAFKA={broker.bootstrap}")


@services.command()
@_SERVICE
def down(service: str) -> None:
    """Stop SERVICE in good order; its data stay."""
    stopped = KafkaBroker(_folder(service)).stop()
    click.echo(f"{service} is down" if stopped else f"{service} was not running")


@services.command()
def status() -> None:
    """List the services; exit 1 if one that was started has died or does not answer."""
    from rich.console import Console
    from rich.table import Table

    broker = KafkaBroker(_folder("kafka"))
    pid, reachable = broker.pid, broker.reachable()
    table = Table("service", "state", "address", "process", "log", box=None)
    state = "died" if broker.died else "down" if pid is None else "up" if reachable else "up, does not answer"
    log = str(broker.log) if broker.log.exists() else ""
    table.add_row("kafka", state, broker.bootstrap if pid else "", str(pid or ""), log)
    Console(soft_wrap=True).print(table)
    sys.exit(1 if broker.died or (pid and not reachable) else 0)


def _last_port(folder: Path) -> int | None:
    properties = folder / "server.properties"
    found = (
        re.search(r"^listeners=PLAINTEXT://[^:]+:(\d+)", properties.read_text(), re.M) if properties.exists() else None
    )
    return int(found[1]) if found else None


def _folder(service: str) -> Path:
    from resources.environments import settings

    return settings().home / "services" / service
