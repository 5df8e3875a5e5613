"""Entity states in Redis: one get for all entities of a request, and a new namespace for each materialization.

What a namespace holds is complete as of one version of the table it was made from; its `meta` entry says which, changes
in the same transaction as the states, and is read in the same get, so every answer knows what its state had consumed.
"""

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from convergence.errors import ConvergenceError
from convergence.features.online_state import Entity, EntityState, Key, StateLayout, key_name

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("convergence.features")

_AT_ONCE = 1_000  # values in one round trip of a fill
_KEPT = 2  # namespaces: the one that is served, and the one before it, for a rollback


class OnlineStoreError(ConvergenceError):
    """The online store does not answer, or does not hold what was asked for."""


@dataclass(frozen=True)
class Meta:
    """What a namespace holds: everything up to `version` of `table`, exact for rows from event time `floor` on."""

    table: str
    generation: int
    version: int
    floor: int  # microseconds since 1970 UTC
    newest: int  # event time of the newest row, microseconds
    entities: int
    filled_at: str  # ISO time
    server: str  # run id of the Redis server that was filled
    evicted: int  # keys that this server had evicted by then


@dataclass(frozen=True)
class Reading:
    """States of the entities asked for that are known, and what they had consumed.

    `lost`: the server has evicted keys since the namespace was filled, so an entity that is missing may be known.
    """

    meta: Meta
    states: Mapping[tuple[Entity, Key], EntityState]
    lost: bool = False


class OnlineStore:
    """The states of one view version in a Redis server."""

    def __init__(self, redis: "Redis", layout: StateLayout) -> None:
        self.redis: Any = redis
        self.layout = layout
        self._told: tuple[bytes, Any] = b"", None  # it is the same for most requests
        self._failure = ""  # the last one, until an answer
        self._pointer = f"online/{layout.view.name}/{layout.fingerprint}"

    def newest(self) -> str | None:
        """The namespace that was filled last; None where none was. Raises OnlineStoreError."""
        found = self.asked(lambda: self.redis.get(self._pointer))
        return found.decode() if found else None

    def holds(self, namespace: str) -> bool:
        """Whether a namespace is there and whole. Raises OnlineStoreError."""
        return bool(self.asked(lambda: self.redis.exists(f"{namespace}/meta")))

    def read(self, namespace: str, wanted: Collection[tuple[Entity, Key]]) -> Reading:
        """The states of some entities, in one get.

        Raises:
            OnlineStoreError: the server does not answer in time, or the namespace is gone.
            StateMismatch: a state was written for another view or schema.
        """
        wanted = list(dict.fromkeys(wanted))
        keys = [f"{namespace}/meta", *(f"{namespace}/{key_name(*one)}" for one in wanted)]
        told, *values = self.asked(lambda: self.redis.mget(keys))
        if told is None:
            raise OnlineStoreError(
                f"the online store holds no namespace {namespace}: it was flushed, evicted or never filled; "
                "materialize the online state anew"
            )
        known = self._told  # one pair: threads share this
        if told != known[0]:
            known = self._told = told, Meta(**json.loads(told))
        meta = known[1]
        held = zip(wanted, values, strict=True)
        states = {one: self.layout.unpack(one[0], value) for one, value in held if value is not None}
        return Reading(meta, states, lost=len(states) < len(wanted) and self._evicted_since(meta))

    def fill(self, states: Iterable[tuple[Entity, Key, EntityState]], **about: Any) -> str:
        """Write states to a new namespace, and point to it when all are there; what was served is served meanwhile.

        `about` are the fields of Meta that the caller knows. Returns the namespace. Raises OnlineStoreError.
        """
        number = self.asked(lambda: self.redis.incr(f"{self._pointer}/count"))
        namespace = f"{self.layout.view.name}/{self.layout.fingerprint}/{number}"
        entities, rest = 0, iter(states)
        while part := list(islice(rest, _AT_ONCE)):
            packed = {f"{namespace}/{key_name(e, k)}": self.layout.pack(e, state) for e, k, state in part}
            self.asked(lambda packed=packed: self.redis.mset(packed))
            entities += len(part)
        server, evicted = self.asked(self._evictions)
        meta = Meta(entities=entities, server=server, evicted=evicted, **about)
        self.asked(lambda: self._publish(namespace, meta))
        self._drop_old(int(number))
        return namespace

    def _publish(self, namespace: str, meta: Meta) -> None:
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.set(f"{namespace}/meta", json.dumps(asdict(meta)))
            pipe.set(self._pointer, namespace)
            pipe.execute()

    def change(
        self, namespace: str, states: Sequence[tuple[Entity, Key, EntityState]], before: Meta, after: Meta
    ) -> bool:
        """Write changed states and the new meta in one transaction; False, and nothing written: another was first.

        Raises OnlineStoreError.
        """
        from redis.exceptions import WatchError

        def transact() -> bool:
            with self.redis.pipeline(transaction=True) as pipe:
                pipe.watch(f"{namespace}/meta")
                told = pipe.get(f"{namespace}/meta")
                if told is None or Meta(**json.loads(told)) != before:
                    return False
                pipe.multi()
                for entity, key, state in states:
                    pipe.set(f"{namespace}/{key_name(entity, key)}", self.layout.pack(entity, state))
                pipe.set(f"{namespace}/meta", json.dumps(asdict(after)))
                try:
                    pipe.execute()
                except WatchError:
                    return False
                return True

        return self.asked(transact)

    def drop(self, namespace: str) -> int:
        """Remove a namespace; how many values it had. Raises OnlineStoreError."""
        removed = 0
        for part in self.asked(lambda: list(_parts(self.redis.scan_iter(f"{namespace}/*", count=_AT_ONCE)))):
            removed += self.asked(lambda part=part: self.redis.unlink(*part))
        return removed

    def _drop_old(self, newest: int) -> None:
        for number in range(max(newest - _KEPT - 3, 1), newest - _KEPT + 1):
            self.drop(f"{self.layout.view.name}/{self.layout.fingerprint}/{number}")

    def _evicted_since(self, meta: Meta) -> bool:
        server, evicted = self.asked(self._evictions)
        return evicted > (meta.evicted if server == meta.server else 0)

    def _evictions(self) -> tuple[str, int]:
        with self.redis.pipeline(transaction=False) as pipe:
            server, stats = pipe.info("server").info("stats").execute()
        return server["run_id"], stats["evicted_keys"]

    def asked(self, question: Any) -> Any:
        """What the server answers to `question()`.

        Raises OnlineStoreError where it does not; it goes to clients, so the address, a path maybe, is in the log only.
        """
        from redis.exceptions import RedisError

        try:
            answer = question()
        except (RedisError, OSError) as error:
            if str(error) != self._failure:  # it is asked several times a second
                log.warning("the online store does not answer: %s", error)
            self._failure = str(error)
            raise OnlineStoreError(
                f"the online store does not answer ({type(error).__name__}, the log says more); see that Redis runs "
                "and that CONVERGENCE_REDIS names it"
            ) from error
        self._failure = ""
        return answer


def _parts(names: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(names)
    while part := list(islice(rest, _AT_ONCE)):
        yield part
