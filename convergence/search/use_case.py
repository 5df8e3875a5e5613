"""What a use case declares to be searched: where the snapshots of its index are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SearchedUseCase:
    """A use case with an index that is searched."""

    name: str

    def folder(self, home: Path) -> Path:
        """Where the snapshots of its index are."""
        return home / "indexes" / self.name

    @property
    def subject(self) -> str:
        """What the audit log calls its index."""
        return f"{self.name}_index"
