"""What a use case declares to be searched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import polars as pl

    from convergence.lake.tables import Lake
    from convergence.objects.store import Objects
    from convergence.observability.usage import Usage
    from convergence.search.encoders import Precision, Role, StoredEncoder


ALIGNED = "aligned"  # the checkpoint of images that is fitted on captions, and not exported
SAMPLE = 20  # contents that an encoder is timed on


class Reencoding(Protocol):
    """What other encoders would mean for a use case: a module with these functions."""

    def of_checkpoint(self, role: "Role", checkpoint: str, precision: "Precision") -> "StoredEncoder":
        """The encoder that a checkpoint gives. Raises EncoderError where it cannot be had."""
        ...

    def of_now(self, lake: "Lake", role: "Role") -> "StoredEncoder | None":
        """The encoder that the lake holds."""
        ...

    def contents(self, lake: "Lake", role: "Role", days: Sequence[str]) -> "pl.DataFrame":
        """The different contents of a role on these days."""
        ...

    def split(self, lake: "Lake", role: "Role", wanted: "pl.DataFrame", graph: str | None) -> tuple[int, int]:
        """How many contents a graph would encode anew, and of how many it has the vectors."""
        ...

    def timed(self, encoder: "StoredEncoder", wanted: "pl.DataFrame", objects: "Objects") -> "Usage | None":
        """What a content takes an encoder."""
        ...


@dataclass(frozen=True)
class SearchedUseCase:
    """A use case with an index that is searched; `reencoding` imports what `convergence plan` asks of its encoders."""

    name: str
    reencoding: Callable[[], Reencoding] | None = None

    @property
    def subject(self) -> str:
        """What the audit log calls its index."""
        return f"{self.name}_index"

    @property
    def decisions(self) -> str:
        """The table of its gate's decisions, by day."""
        return f"{self.name}/search_releases"
