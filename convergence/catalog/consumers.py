"""What outside of the asset graph holds its columns: the HTTP services, by what their use cases declare."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from convergence.serving.use_case import ServedUseCase
from convergence.versions.lineage import Column

_RELEASED = ("model_version", "onnx", "sha256", "model")


@dataclass(frozen=True)
class Consumer:
    """Something that reads columns; it notices when one of them changes."""

    name: str
    about: str
    columns: tuple[Column, ...]

    def touched(self, changed: Iterable[Column]) -> "Consumer":
        """The same with those of its columns alone that are among these."""
        among = set(changed)
        return replace(self, columns=tuple(column for column in self.columns if column in among))


def services(served: Iterable[ServedUseCase], tables: Iterable[str]) -> list[Consumer]:
    """The HTTP service of each use case: the features that it computes, and the models that it answers with."""
    known = set(tables)

    def service(case: ServedUseCase) -> Consumer:
        view, model = case.features.online.view, case.model
        columns = [
            *(Column(f"{case.name}/{view.name}", name) for name in dict.fromkeys([*view.features, *model.inputs])),
            *(Column(table, name) for table in (model.decisions, model.models) for name in _RELEASED),
        ]
        about = f"POST /v1/{case.name}/score, POST /v1/features/get; `convergence serve {case.name}`"
        return Consumer(f"HTTP service {case.name}", about, tuple(c for c in columns if c.table in known))

    return [service(case) for case in served]
