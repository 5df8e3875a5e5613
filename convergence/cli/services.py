"""`convergence services`: servers that run beside the platform and outlive the command that started them."""

import re
import sys
from pathlib import Path

import click

from convergence.services import kafka, postgres
from convergence.services.kafka import KafkaBroker, install_kafka
from convergence.services.postgres import PostgresServer

_SERVICE = click.argument("service", type=click.Choice(["kafka", "postgres"]))


@click.group()
def services() -> None:
    """Start, stop and list the servers that the platform can run itself."""


@services.command()
@_SERVICE
@click.option(
    "--port",
    type=click.IntRange(1024, 65534),
    help=f"Default: the one it had last, or {kafka.PORT} for kafka, {postgres.PORT} for postgres.",
)
def up(service: str, port: int | None) -> None:
    """Start SERVICE on loopback, with its data under CONVERGENCE_HOME. One that runs is left alone.

    Kafka also takes the next port, for its controller. PostgreSQL asks for the password in its folder's file `url`.
    """
    folder = _folder(service)
    if service == "kafka":
        server = KafkaBroker(folder, install_kafka(folder.parent), port=port or _last_port(folder) or kafka.PORT)
        setting = f"CONVERGENCE_KAFKA={server.address}"
    else:
        server = PostgresServer(folder, port=port or PostgresServer(folder).last_port or postgres.PORT)
        setting = f'CONVERGENCE_POSTGRES="$(cat {server.url_file})"'
    began = server.start()
    state = "is up" if began else "was up already"
    click.echo(f"{service} {state} at {server.address} (process {server.pid}); log: {server.log}")
    click.echo(f"Next: export {setting}")


@services.command()
@_SERVICE
def down(service: str) -> None:
    """Stop SERVICE in good order; its data stay."""
    stopped = _server(service).stop()
    click.echo(f"{service} is down" if stopped else f"{service} was not running")


@services.command()
def status() -> None:
    """List the services; exit 1 if one that was started has died or does not answer."""
    from rich.console import Console
    from rich.table import Table

    table, wrong = Table("service", "state", "address", "process", "log", box=None), False
    for service in ("kafka", "postgres"):
        server = _server(service)
        pid, reachable = server.pid, server.reachable()
        state = "died" if server.died else "down" if pid is None else "up" if reachable else "up, does not answer"
        log = str(server.log) if server.log.exists() else ""
        table.add_row(service, state, server.address if pid else "", str(pid or ""), log)
        wrong |= server.died or (pid is not None and not reachable)
    Console(soft_wrap=True).print(table)
    sys.exit(wrong)


def _server(service: str) -> KafkaBroker | PostgresServer:
    return KafkaBroker(_folder(service)) if service == "kafka" else PostgresServer(_folder(service))


def _last_port(folder: Path) -> int | None:
    properties = folder / "server.properties"
    found = (
        re.search(r"^listeners=PLAINTEXT://[^:]+:(\d+)", properties.read_text(), re.M) if properties.exists() else None
    )
    return int(found[1]) if found else None


def _folder(service: str) -> Path:
    from resources.environments import settings

    return settings().home / "services" / service
