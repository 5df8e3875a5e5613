"""Java programs from their Maven coordinates: every jar is held against a committed sum before it may run."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from convergence.errors import ServiceError
from convergence.services.processes import one_at_a_time

LEAST_JAVA = 17


def java() -> str:
    """The Java to run, from JAVA_HOME or the PATH. Raises ServiceError where there is none that is new enough."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else shutil.which("java")
    where = f"JAVA_HOME ({home})" if home else "PATH"
    if found is None:
        raise ServiceError(f"no java in {where}: install Java {LEAST_JAVA} or newer, or set JAVA_HOME")
    said = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if version is None or int(version[1]) < LEAST_JAVA:
        raise ServiceError(
            f"{found} is Java {version[1] if version else 'of no known version'}, needed is {LEAST_JAVA} or newer: "
            "install it, or set JAVA_HOME to it"
        )
    return found


def install(recipe: Path, folder: Path) -> Path:
    """The jars of `recipe` (a folder with pom.xml and jars.sha256) in `folder`/libs; downloads what is not there.

    Any number of processes may ask at once: one downloads, the others wait. Raises ServiceError where Maven is
    missing or fails, or a jar is not the one that was committed to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    libs = folder.resolve() / "libs"
    sums = {jar: sha256 for sha256, jar in map(str.split, (recipe / "jars.sha256").read_text().splitlines())}
    with one_at_a_time(folder / ".libs.lock"):
        if not _differing(libs, sums):
            return libs
        with tempfile.TemporaryDirectory(dir=libs.parent, prefix=".libs-") as temporary:
            fresh = Path(temporary, "libs")
            _download(recipe / "pom.xml", fresh)
            differing = _differing(fresh, sums)
            if differing:
                raise ServiceError(
                    f"{len(differing)} of {len(sums)} jars are not those of {recipe.name}/jars.sha256, first: "
                    f"{differing[0]}; nothing was installed. If the versions in pom.xml were changed on purpose, "
                    "renew jars.sha256; otherwise the repository that Maven asks is not to be trusted"
                )
            if libs.exists():
                libs.rename(Path(temporary, "before"))
            fresh.rename(libs)
    return libs


def _download(pom: Path, into: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise ServiceError("no mvn in PATH: install Apache Maven, which downloads the jars")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={into}"]
    done = subprocess.run(
        [maven, "-q", "-B", "-ntp", "-f", str(pom), *goal], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("[ERROR]")]
        raise ServiceError("\n".join([f"Maven could not download the jars of {pom}:", *said[:5]]))


def _differing(libs: Path, sums: dict[str, str]) -> list[str]:
    """Names of the jars that are missing, not asked for, or of other content than their sum says."""
    there = {path.name: path for path in libs.glob("*.jar")}
    return sorted(n for n in sums.keys() | there.keys() if n not in there or _sha256(there[n]) != sums.get(n))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
