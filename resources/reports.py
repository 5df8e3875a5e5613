"""Where pages for people are written: a folder under the platform's home, served by nothing."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg


class Reports(dg.ConfigurableResource):
    """Pages under `<home>/reports`. Metadata names them relative to `home`, so that it holds no path of a machine."""

    home: str

    def of(self, folder: str) -> Callable[[str], tuple[Path, str]]:
        """`page` for the pages of one folder."""
        return lambda name: self.page(f"{folder}/{name}")

    def page(self, name: str) -> tuple[Path, str]:
        """Where a page named e.g. `fraud/drift/2018-08-01.html` is written, and how metadata names it."""
        relative = f"reports/{name}"
        return Path(self.home, relative), relative
