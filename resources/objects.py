"""The object store as a resource, with what takes images into it: allowed addresses, and the decoder's child."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from convergence.objects.fetching import Fetcher
    from convergence.objects.images import ImageDecoder
    from convergence.objects.store import Objects


class ObjectStore(dg.ConfigurableResource):
    """Images and files by their hash, under `root`: a folder, or an S3-compatible URL.

    `published`: the folder of published data. `hosts`: those that images may be fetched from over HTTP.
    """

    root: str
    storage_options: dict[str, str] = {}
    published: str | None = None
    hosts: list[str] = []

    @property
    def name(self) -> str:
        """For logs and metadata: the URL, or that it is a folder."""
        return self.root if "://" in self.root else "a folder"

    @cached_property
    def store(self) -> "Objects":
        """The plain store behind this resource."""
        from convergence.objects.store import Objects

        return Objects.at(self.root, self.storage_options)

    @property
    def fetcher(self) -> "Fetcher":
        """What follows addresses of images."""
        from convergence.arrivals.simulators.search import drawn
        from convergence.objects.fetching import Fetcher

        folder = Path(self.published) if self.published else None
        return Fetcher(folder, self.store, frozenset(self.hosts), simulated=drawn)

    def decoder(self) -> "ImageDecoder":
        """A decoder of images, to be used in a `with` block."""
        from convergence.objects.images import ImageDecoder

        return ImageDecoder()
