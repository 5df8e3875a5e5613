"""What a use case declares to be searched."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchedUseCase:
    """A use case with an index that is searched."""

    name: str

    @property
    def subject(self) -> str:
        """What the audit log calls its index."""
        return f"{self.name}_index"

    @property
    def decisions(self) -> str:
        """The table of its gate's decisions, by day."""
        return f"{self.name}/search_releases"
