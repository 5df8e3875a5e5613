"""Makes a use case from the template: the template is real code with real tests, so the copy is green at once."""

import re
from pathlib import Path

from convergence.errors import SettingsError

_TEMPLATE = {"convergence_assets": "convergence_assets/_template", "tests": "tests/convergence_assets/_template"}


def create(root: Path, name: str) -> list[Path]:
    """Copy the template and its tests under `name` (snake_case); returns the new files. Raises SettingsError."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise SettingsError(f"use case {name!r}: expected lower-case words joined by '_', e.g. claim_triage")
    if (root / "convergence_assets" / name).exists():
        raise SettingsError(f"use case {name!r} is already there: choose another name")
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
