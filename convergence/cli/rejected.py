"""`convergence rejected`: what waits because it could not be landed, and landing it after its cause was mended."""

import os
import socket

import click


@click.group()
def rejected() -> None:
    """Messages that broke their contract: why, and landing them after a fix."""


@rejected.command("list")
@click.argument("topic")
def list_(topic: str) -> None:
    """Count the messages of TOPIC that wait, by reason, without the values that their rows name."""
    from convergence.arrivals.evidence import without_values
    from convergence.arrivals.lander import Lander
    from convergence.arrivals.rejected import Rejected
    from convergence.cli import lake, topic_named
    from convergence.lake.manifests import Provenance

    wanted, here = topic_named(topic), lake(reading=True)
    waiting = Rejected(here).waiting(wanted, Lander(here, wanted, Provenance("list", "")).landed)
    causes = without_values(waiting["reason"]).str.replace(r"^line \d+: ", "")
    for reason, count in causes.value_counts().sort(["count", "reason"], descending=[True, False]).rows():
        click.echo(f"{count:>10,}  {reason}")
    click.echo(f"{topic}: {waiting.height:,} rejected messages wait")
    if waiting.height:
        click.echo(f"Next: mend the contract or the topic's renames, then `convergence rejected replay {topic}`")


@rejected.command()
@click.argument("topic")
def replay(topic: str) -> None:
    """Land the rejected messages of TOPIC once more, each at most once, and report it to Dagster."""
    from convergence.arrivals.lander import land
    from convergence.arrivals.rejected import Rejected
    from convergence.cli import instance, lake, topic_named
    from resources.arrivals import provenance, report_landed

    wanted, here = topic_named(topic), lake()
    source = Rejected(here)
    with instance() as dagster:
        made = provenance(wanted, source, f"rejected/{socket.gethostname()}/{os.getpid()}")
        done = land(here, wanted, source, made)
        report_landed(dagster, here, wanted, done.days, source.name)
    click.echo(
        f"{topic}: {done.messages:,} rejected messages tried again: {done.accepted:,} landed, {done.late:,} late, "
        f"{done.rejected:,} rejected again"
    )
    if done.rejected:
        click.echo(f"Next: `convergence rejected list {topic}` says why")
