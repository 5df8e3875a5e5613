"""What the platform knows of itself, as Dagster sees it."""

import dagster as dg

from convergence_assets.governance import proof
from convergence_assets.governance.quality import quality_every_morning, quality_job, quality_scorecard
from convergence_assets.governance.upkeep import lake_upkeep, stored_as_written, upkeep_every_night, upkeep_job
from sensors.alerts import alerts

__all__ = ["defs"]

defs = dg.Definitions(
    assets=[proof.chaos_report, lake_upkeep, quality_scorecard],
    asset_checks=[proof.exactly_once, stored_as_written],
    jobs=[upkeep_job, quality_job],
    schedules=[upkeep_every_night, quality_every_morning],
    sensors=[alerts],
)
