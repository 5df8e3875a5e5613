"""Jars that are what was committed to, and words for what is missing. Maven is a script that writes given files."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from convergence.errors import ServiceError
from convergence.services.jars import install, java
from convergence.services.kafka import RECIPE

JARS = {"a.jar": b"one", "b.jar": b"two"}
INSTALL = "import sys, pathlib as p; from convergence.services.jars import install; install(*map(p.Path, sys.argv[1:]))"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    folder = tmp_path / "deploy"
    folder.mkdir()
    (folder / "pom.xml").write_text("<project/>")
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in JARS.items()]
    (folder / "jars.sha256").write_text("".join(sums))
    return folder


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def script(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\nimport pathlib, sys, time\n{text}\n")
    path.chmod(0o755)


def maven(programs: Path, jars: dict[str, bytes], seconds: float = 0) -> Path:
    """A Maven that delivers these jars, and a file with a line for each time it was asked."""
    asked = programs / "asked"
    script(
        programs / "mvn",
        f"open({str(asked)!r}, 'a').write('once\\n')\n"
        "to = next(pathlib.Path(a.split('=')[1]) for a in sys.argv if 'outputDirectory' in a)\n"
        f"to.mkdir()\ntime.sleep({seconds})\n[(to / n).write_bytes(c) for n, c in {jars!r}.items()]",
    )
    return asked


def contents(libs: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in libs.iterdir()}


def test_jars_are_downloaded_once(recipe: Path, programs: Path, tmp_path: Path) -> None:
    asked = maven(programs, JARS)
    for _ in range(2):
        assert contents(install(recipe, tmp_path / "kafka")) == JARS
    assert asked.read_text() == "once\n"
    assert sorted(path.name for path in (tmp_path / "kafka").iterdir()) == [".libs.lock", "libs"]


def test_processes_that_ask_at_once_share_one_download(recipe: Path, programs: Path, tmp_path: Path) -> None:
    asked = maven(programs, JARS, seconds=0.5)
    command = [sys.executable, "-c", INSTALL, str(recipe), str(tmp_path / "kafka")]
    asking = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in asking] == [0, 0, 0]
    assert asked.read_text() == "once\n"
    assert contents(tmp_path / "kafka" / "libs") == JARS


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (JARS | {"b.jar": b"three"}, "1 of 2 jars.*b.jar"),
        ({"a.jar": b"one"}, "1 of 2 jars.*b.jar"),
        (JARS | {"c.jar": b""}, "1 of 2 jars.*c.jar"),
    ],
    ids=["other content", "missing", "not asked for"],
)
def test_jars_that_are_not_those_committed_to_are_not_installed(
    found: dict[str, bytes], first: str, recipe: Path, programs: Path, tmp_path: Path
) -> None:
    maven(programs, found)
    with pytest.raises(ServiceError, match=f"{first}; nothing was installed"):
        install(recipe, tmp_path / "kafka")
    assert [path.name for path in (tmp_path / "kafka").iterdir()] == [".libs.lock"]


@pytest.mark.parametrize("damage", [b"", b"on"], ids=["emptied", "cut short"])
def test_a_jar_damaged_after_its_installation_is_replaced(
    damage: bytes, recipe: Path, programs: Path, tmp_path: Path
) -> None:
    maven(programs, JARS)
    (install(recipe, tmp_path / "kafka") / "a.jar").write_bytes(damage)
    assert contents(install(recipe, tmp_path / "kafka")) == JARS


def test_what_is_installed_needs_no_maven(recipe: Path, programs: Path, tmp_path: Path) -> None:
    maven(programs, JARS)
    install(recipe, tmp_path / "kafka")
    (programs / "mvn").unlink()
    assert contents(install(recipe, tmp_path / "kafka")) == JARS


@pytest.mark.usefixtures("programs")
def test_a_missing_maven_is_named(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="no mvn in PATH: install Apache Maven"):
        install(recipe, tmp_path / "kafka")


def test_what_maven_complains_of_is_shown(recipe: Path, programs: Path, tmp_path: Path) -> None:
    script(programs / "mvn", "sys.exit('[INFO] busy\\n[ERROR] no such version')")
    with pytest.raises(ServiceError, match=r"could not download.*\n\[ERROR\] no such version$"):
        install(recipe, tmp_path / "kafka")


@pytest.mark.usefixtures("programs")
def test_a_missing_java_is_named() -> None:
    with pytest.raises(ServiceError, match="no java in PATH: install Java 17 or newer, or set JAVA_HOME"):
        java()


@pytest.mark.parametrize(("version", "major"), [("1.8.0_392", 8), ("11.0.2", 11)])
def test_a_java_that_is_too_old_is_refused_with_its_version(version: str, major: int, programs: Path) -> None:
    script(programs / "java", f"sys.exit('openjdk version \"{version}\" 2023')")
    with pytest.raises(ServiceError, match=f"is Java {major}, needed is 17 or newer"):
        java()


def test_java_home_goes_before_the_path(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(programs / "java", "sys.exit('openjdk version \"11.0.2\"')")
    (tmp_path / "jdk").mkdir()
    script(tmp_path / "jdk" / "bin" / "java", "sys.exit('openjdk version \"21\" 2023-09-19')")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    assert java() == str(tmp_path / "jdk" / "bin" / "java")


def test_a_java_home_without_java_is_an_error_not_a_reason_to_look_elsewhere(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(programs / "java", "sys.exit('openjdk version \"21\"')")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nothing"))
    with pytest.raises(ServiceError, match="no java in JAVA_HOME"):
        java()


def test_every_jar_of_the_broker_has_one_sum() -> None:
    lines = [line.split() for line in (RECIPE / "jars.sha256").read_text().splitlines()]
    assert len({name for _, name in lines}) == len(lines) > 40
    assert all(len(sha256) == 64 for sha256, _ in lines)
