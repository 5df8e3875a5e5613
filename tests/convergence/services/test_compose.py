"""The compose file, which cannot be run without a container engine: it says the same as the broker that is run."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from convergence.services.jars import java
from convergence.services.kafka import RECIPE

KAFKA: dict[str, Any] = yaml.safe_load((RECIPE.parent / "compose.yaml").read_text())["services"]["kafka"]
ELSEWHERE = {
    *("listeners", "advertised.listeners", "listener.security.protocol.map", "inter.broker.listener.name"),
    *("controller.quorum.voters", "log.dirs"),
}


def properties() -> dict[str, str]:
    lines = (RECIPE / "server.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environment() -> dict[str, str]:
    """The image's variables as the broker's properties, by the rule of Kafka's image: dots are underscores."""
    named = {name: value for name, value in KAFKA["environment"].items() if name.startswith("KAFKA_")}
    return {name.removeprefix("KAFKA_").replace("_", ".").lower(): str(value) for name, value in named.items()}


def test_the_container_has_the_configuration_of_the_broker_that_is_run_from_jars() -> None:
    same = {name: value for name, value in environment().items() if name not in ELSEWHERE}
    assert same == {name: value for name, value in properties().items() if name not in ELSEWHERE}


def test_kafka_takes_the_configuration(kafka_jars: Path, tmp_path: Path) -> None:
    settings = environment() | {"log.dirs": str(tmp_path / "data")}
    file = tmp_path / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    tool = [java(), "-cp", str(kafka_jars / "*"), "kafka.tools.StorageTool", "format"]
    command = [*tool, "--cluster-id", KAFKA["environment"]["CLUSTER_ID"], "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "data" / "meta.properties").exists()


def test_every_listener_has_a_protocol_and_clients_are_told_where_they_connect() -> None:
    settings = environment()
    names = {part.split("://")[0] for part in settings["listeners"].split(",")}
    protocols = dict(part.split(":") for part in settings["listener.security.protocol.map"].split(","))
    assert names == protocols.keys() == {"CONTROLLER", "HOST", "PLAINTEXT"}
    assert settings["inter.broker.listener.name"] in names
    assert KAFKA["ports"] == ["127.0.0.1:9092:9092"]
    assert "HOST://127.0.0.1:9092" in settings["advertised.listeners"].split(",")


def test_the_image_is_the_version_of_the_jars() -> None:
    version = KAFKA["image"].rpartition(":")[2]
    assert f"kafka_2.13-{version}.jar" in (RECIPE / "jars.sha256").read_text()
    assert version in (RECIPE / "pom.xml").read_text()


def test_the_data_outlive_the_container() -> None:
    [volume] = KAFKA["volumes"]
    assert volume == f"kafka:{environment()['log.dirs']}"
    assert Path(volume.partition(":")[2]).is_absolute()
