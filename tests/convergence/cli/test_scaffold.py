"""Names that a use case cannot have: whoever got one could load nothing any more, or would overwrite what is there."""

import shutil
from pathlib import Path

import pytest

from convergence.cli.scaffold import create
from convergence.errors import SettingsError

ROOT = Path(__file__).parents[3]
TEMPLATE = ("convergence_assets/_template", "tests/convergence_assets/_template")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout with the template and one of each thing that a name may collide with."""
    for folder in TEMPLATE:
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("convergence_assets/fraud", "tests/convergence_assets/old", "dbt/models/marts", "resources"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "convergence_assets/definitions.py").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "word of Python's own") for name in ("class", "lambda", "match", "case")),
        ("fraud", "convergence_assets/fraud is already there"),
        ("definitions", "convergence_assets/definitions.py is already there"),
        ("old", "tests/convergence_assets/old is already there"),
        ("marts", "dbt/models/marts is already there"),
        *((name, f"{name} is already there") for name in ("convergence_assets", "dbt", "resources")),
        *((name, "Dagster keeps that name") for name in ("config", "input", "default")),
        *(
            (name, "lower-case words joined by '_'")
            for name in ("Claims", "claim-triage", "_claims", "2nd", "../x", "")
        ),
    ],
)
def test_a_name_that_cannot_be_is_refused_in_a_sentence_with_the_remedy(root: Path, name: str, why: str) -> None:
    before = sorted(root.rglob("*"))
    with pytest.raises(SettingsError) as refused:
        create(root, name)
    said = str(refused.value)
    assert why in said
    assert "choose another name, e.g. " in said or "e.g. claim_triage" in said
    assert "\n" not in said
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("name", ["claim_triage", "email", "class_cases"])
def test_any_other_name_is_made(root: Path, name: str) -> None:
    assert root / "convergence_assets" / name / "definitions.py" in create(root, name)
