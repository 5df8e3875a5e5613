"""Which model serves, with which features: one release record, mirrored to Redis for servers to read in one get.

The audit log is the truth (`release_log.py`); Redis only repeats its newest release and never goes back to an older.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from convergence.errors import ModelError

if TYPE_CHECKING:
    from redis import Redis

_PUBLISH = """
local there = redis.call('GET', KEYS[1])
local read, record = pcall(cjson.decode, there or '')
if read and type(record) == 'table' and (tonumber(record['number']) or 0) > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


@dataclass(frozen=True)
class Release:
    """What a server needs to know of a model: which one, over which feature view, with its state in which namespace."""

    name: str
    number: int  # position of its entry in the log
    model_version: str
    sha256: str  # of the model's ONNX
    view: str
    fingerprint: str  # of the view's schema
    namespace: str  # where the online state of that view version lies
    canary: dict[str, Any] | None = None  # {"model_version", "sha256", "share"} while a challenger is tried

    @property
    def challenger(self) -> "Release | None":
        """The challenger that is tried, as if it were released; None while none is."""
        if self.canary is None:
            return None
        version, sha256 = self.canary["model_version"], self.canary["sha256"]
        return replace(self, model_version=version, sha256=sha256, canary=None)

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Release":
        """The record that `to_json` wrote. Raises ModelError for any other text."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise ModelError(
                f"not a release record ({error}): {text[:80]!r}; `convergence release publish` writes it anew"
            ) from error


def publish(redis: "Redis", release: Release, *, force: bool = False) -> bool:
    """Tell servers of a release; False, and nothing changed, where a newer one is there already.

    `force`: put it in the place of a newer one too, such as another lake's.
    """
    if force:
        return bool(redis.set(f"release/{release.name}", release.to_json()))
    return bool(redis.eval(_PUBLISH, 1, f"release/{release.name}", release.to_json(), str(release.number)))


def current(redis: "Redis", name: str) -> Release | None:
    """The release that servers follow, in one get; None where none was ever published."""
    text = redis.get(f"release/{name}")
    return None if text is None else Release.from_json(text.decode() if isinstance(text, bytes) else str(text))
