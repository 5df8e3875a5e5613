"""`convergence now`: a dataset as of this moment, batch and what has arrived since in one answer."""

from datetime import date, timedelta
from pathlib import Path

import click

from convergence.cli.files import FileToWrite
from convergence.cli.replay import Days


@click.command()
@click.argument("table")
@click.option("--days", required=True, type=Days(), help="First and last event date, e.g. 2018-08-30..2018-08-31.")
@click.option("--to", "target", type=FileToWrite(), help="Write the rows to this Parquet file.")
def now(table: str, days: tuple[date, date], target: Path | None) -> None:
    """Show TABLE as a full recomputation at this moment would give it, unlanded messages included."""
    from convergence.cli import lake
    from convergence.lake.generations import use_case_of
    from convergence.versions.united import united
    from convergence_assets import topics, use_cases
    from resources.configured import resources
    from resources.environments import settings

    known = {table: derive for one in use_cases() for table, derive in one.as_of_now.items()}
    if table not in known:
        raise click.BadParameter(f"{table!r} is no view of this moment; there are: {', '.join(known)}")
    first, last = days
    wanted = [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]
    (topic,) = (t for t in topics().values() if use_case_of(t.table) == use_case_of(table))
    found = united(lake(reading=True), topic, resources(settings())["sources"].all, table, known[table], wanted)
    click.echo(
        f"{table} on {first} to {last}: {found.rows.height:,} rows; "
        f"{len(found.from_batch)} days as the batch made them, {len(found.derived)} derived now, "
        f"{found.unlanded:,} messages not landed yet"
    )
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        found.rows.write_parquet(target)
        click.echo(f"written: {target}")
    else:
        click.echo(str(found.rows))
