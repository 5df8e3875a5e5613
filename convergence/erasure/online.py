"""The online store without a subject: filled anew from what the lake has left, and every former namespace dropped.

A state of another entity, such as a terminal, holds events of the subject too; made anew it holds none.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convergence.erasure.subjects import Erased, Subject
from convergence.errors import TableMissing
from convergence.features.online_state import key_name
from convergence.features.online_store import OnlineStore
from convergence.features.online_updates import OnlineFeatures, fill
from convergence.lake.tables import Lake

if TYPE_CHECKING:
    from redis import Redis


@dataclass(frozen=True)
class OnlineStates:
    """The states of one view. `stale`: whether the table that they are made from has lost rows in this erasure."""

    lake: Lake
    features: OnlineFeatures
    connect: Callable[[], "Redis"]
    stale: Callable[[str], bool]
    embedded: bool  # our own server, whose file on disk is to be written anew
    how = "the entity of each state"

    @property
    def name(self) -> str:
        """For the certificate."""
        return f"online store, {self.features.online.view.name}"

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Fill the view anew, which takes the place of what is served in one step, then drop what was there before."""
        column = subject.columns.get(self.features.table)
        if column is None:
            return Erased(0)
        redis = self.connect()
        store = OnlineStore(redis, self.features.online.layout)
        view = self.features.online.view.name
        keys = [key.decode() for key in store.asked(lambda: list(redis.scan_iter(f"{view}/*/*/*", count=1_000)))]
        names = {key_name((column,), (value,)) for value in subject.ids}
        mine = [key for key in keys if key.rpartition("/")[2] in names]
        if dry_run or not keys or not (mine or self.stale(self.features.table)):
            return Erased(len(mine))
        try:
            now = fill(self.lake.newest(), self.features, store)
        except TableMissing:  # nobody else is left
            now = ""
        former = {key.rpartition("/")[0] for key in keys} - {now}
        dropped = sum(store.drop(namespace) for namespace in sorted(former))
        if self.embedded:
            store.asked(redis.save)
        return Erased(len(mine), [f"{dropped} states of {len(former)} former namespaces dropped, filled anew"])
