"""The repository as files and imports."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("convergence", "convergence_assets", "asset_checks", "sensors", "resources")


@cache
def listed(*which: str) -> tuple[str, ...]:
    """The files that `git ls-files` lists."""
    command = ["git", "ls-files", *which]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return tuple(name for name in names if (ROOT / name).is_file())


def tracked() -> tuple[str, ...]:
    """Every file that git knows or would add."""
    return listed("--cached", "--others", "--exclude-standard")


def sources() -> dict[str, Path]:
    """The modules of the source packages, by name."""
    files = [Path(name) for name in tracked() if name.endswith(".py") and name.split("/")[0] in PACKAGES]
    return {".".join(file.with_suffix("").parts).removesuffix(".__init__"): ROOT / file for file in files}


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, inside its functions too: modules, and names imported from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(sources()[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def within(module: str, *packages: str) -> bool:
    """Whether a module is one of these packages or inside one."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)
