"""Who may import whom, and what loading the graph costs."""

import subprocess
import sys
from functools import cache

import dagster as dg
import pytest

from convergence_assets.definitions import defs
from tests.graph.house import PACKAGES, ROOT, imports, sources, within

HEAVY = (
    *("torch", "mlflow", "transformers", "pyspark", "evidently", "feast", "h2o", "great_expectations"),
    *("opentelemetry.sdk", "prometheus_client", "fastapi"),
    *("shap", "xgboost", "sklearn", "pandas", "matplotlib", "scipy"),
    *("PIL", "onnxruntime", "onnx", "tokenizers", "sentence_transformers", "torchvision"),
    *("qdrant_edge", "qdrant_client"),
)
# From the top: a layer may import itself and what is below it.
LAYERS = (("convergence.cli",), ("convergence_assets",), ("asset_checks", "sensors"), ("resources",), ("convergence",))


def layer_of(module: str) -> int | None:
    return next((n for n, packages in enumerate(LAYERS) if within(module, *packages)), None)


def folder(module: str) -> str | None:
    """The use case that a module belongs to; None for the parts, which all are made of."""
    parts = module.split(".")
    is_use_case = parts[0] == "convergence_assets" and (ROOT / "convergence_assets" / [*parts, ""][1]).is_dir()
    return parts[1] if is_use_case and len(parts) > 1 and parts[1] != "_parts" else None


@pytest.mark.parametrize("module", sorted(sources()))
def test_a_module_imports_nothing_from_a_layer_above_its_own(module: str) -> None:
    mine = layer_of(module)
    assert mine is not None
    above = [name for name in imports(module) if (theirs := layer_of(name)) is not None and theirs < mine]
    assert above == []


@pytest.mark.parametrize("module", [m for m in sorted(sources()) if within(m, "convergence")])
def test_only_the_command_line_of_the_platform_imports_dagster(module: str) -> None:
    assert within(module, "convergence.cli") or not any(within(name, "dagster") for name in imports(module))


@pytest.mark.parametrize("module", [m for m in sorted(sources()) if folder(m)])
def test_a_use_case_imports_no_other(module: str) -> None:
    assert {folder(name) for name in imports(module)} <= {folder(module), None}


@pytest.mark.parametrize("module", [m for m in sorted(sources()) if within(m, "convergence_assets._parts")])
def test_a_part_imports_no_use_case(module: str) -> None:
    assert {folder(name) for name in imports(module)} <= {None}


@pytest.mark.parametrize("use_case", sorted({str(folder(m)) for m in sources() if folder(m)}))
def test_training_and_inference_do_not_import_each_other(use_case: str) -> None:
    training, inference = (f"convergence_assets.{use_case}.{part}" for part in ("training", "inference"))
    assert training not in sources() or not any(within(name, inference) for name in imports(training))
    assert inference not in sources() or not any(within(name, training) for name in imports(inference))


@pytest.mark.parametrize("module", sorted(sources()))
def test_no_module_imports_the_private_parts_of_dagster(module: str) -> None:
    assert [name for name in imports(module) if within(name, "dagster._core", "dagster._utils")] == []


@cache
def fresh(code: str) -> str:
    """What a new process prints after loading the graph."""
    program = f"import sys; sys.path.insert(0, ''); import convergence_assets.definitions; {code}"
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_loading_the_graph_loads_no_heavy_library() -> None:
    loaded = set(fresh("print(*sys.modules)").split())
    assert loaded.intersection(HEAVY) == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_generic_package_names_are_this_repositorys(package: str) -> None:
    where = fresh(f"import importlib.util as u; print(*({{p: u.find_spec(p).origin for p in {PACKAGES}}}).values())")
    assert str(ROOT / package / "__init__.py") in where.split()


def test_the_definitions_are_loadable() -> None:
    dg.Definitions.validate_loadable(defs)
