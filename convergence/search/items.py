"""What an index holds beside an item's vectors: all that a result shows, so that a search reads no table.

It travels as JSON in an index's payload. Every text of it came from outside and may be hostile; it is never markup.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from convergence.errors import SearchError

MODALITIES = ("image", "text", "code")


@dataclass(frozen=True)
class Item:
    """What a result shows of an item.

    `day`: ISO date of the event. `object_sha256`: the bytes in the object store; `thumbnail_sha256`: the JPEG that was
    made of them, there too. `parent_id`: for a caption, its image.
    """

    day: str
    title: str | None = None
    text: str | None = None
    code: str | None = None
    language: str | None = None
    object_sha256: str | None = None
    thumbnail_sha256: str | None = None
    parent_id: str | None = None
    licence: str | None = None

    @classmethod
    def from_payload(cls, payload: str) -> "Item":
        """The item of a payload. Raises SearchError where it is not one."""
        try:
            return cls(**json.loads(payload))
        except (TypeError, ValueError) as error:
            said = f"an index holds a payload that is no item ({type(error).__name__})"
            raise SearchError(f"{said}: build it anew with this version of the code") from None

    def as_payload(self) -> str:
        """JSON, in which what is not known is left out; equal items have equal payloads."""
        known: dict[str, Any] = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(known, ensure_ascii=False, separators=(",", ":"))

    @property
    def words(self) -> str:
        """All that may be matched by a term of a query."""
        return "\n".join(part for part in (self.title, self.text, self.code) if part)
