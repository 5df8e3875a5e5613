"""Makes a use case from the template: the template is real code with real tests, so the copy is green at once."""

import keyword
import re
from pathlib import Path

from convergence.errors import SettingsError

_TEMPLATE = {"convergence_assets": "convergence_assets/_template", "tests": "tests/convergence_assets/_template"}


def create(root: Path, name: str) -> list[Path]:
    """Copy the template and its tests under `name` (snake_case); returns the new files. Raises SettingsError."""
    if reason := _refused(root, name):
        raise SettingsError(f"use case {name!r}: {reason}")
    made: list[Path] = []
    for source in _TEMPLATE.values():
        for path in sorted((root / source).glob("*.py")):
            target = root / source.replace("_template", name) / path.name.replace("template", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(_renamed(path.read_text(), name))
            made.append(target)
    return made


def _renamed(text: str, name: str) -> str:
    camel = "".join(word.capitalize() for word in name.split("_"))
    text = text.replace("convergence_assets._template", f"convergence_assets.{name}")
    return text.replace("template", name).replace("Template", camel)


def _refused(root: Path, name: str) -> str | None:
    """Why nothing can be made under that name, and what to do; None if it can."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        return "expected lower-case words joined by '_', e.g. claim_triage"
    another = f"choose another name, e.g. {name}_cases"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        return f"it is a word of Python's own, which no module may have as its name: {another}"
    for folder in ("", *(str(Path(source).parent) for source in _TEMPLATE.values()), "dbt/models"):
        for there in (root / folder / name, root / folder / f"{name}.py"):
            if there.exists():
                return f"{there.relative_to(root)} is already there and would be taken for it: {another}"
    if name == "default" or _is_reserved_by_dagster(name):
        return f"Dagster keeps that name for itself: {another}"
    return None


def _is_reserved_by_dagster(name: str) -> bool:
    import dagster as dg

    try:
        dg.GraphDefinition(name=name)
    except dg.DagsterInvalidDefinitionError:
        return True
    return False
