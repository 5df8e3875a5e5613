"""Where alerts go in this environment, and of what severity they must be."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import dagster as dg

from convergence.observability.alerts import AlertFile, Channel, Webhook


class Alerts(dg.ConfigurableResource):
    """A file always, and a webhook where one is configured."""

    home: str
    webhook: str | None = None
    warnings: bool = False  # whether a check that only warns alerts too
    ui: str  # address of Dagster's UI, which alerts link to

    @cached_property
    def channels(self) -> Sequence[Channel]:
        """The channels, in the order in which they are served."""
        file = AlertFile(Path(self.home) / "alerts")
        return [file, Webhook(self.webhook)] if self.webhook else [file]
