"""What is shipped for Prometheus and Grafana, checked by Prometheus' own tool."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from resources.environments import ROOT
from tests.deploy.prometheus_tools import prometheus_tool

PROMETHEUS, DASHBOARD = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana" / "convergence.json"
IN_GRAFANA = {"$__rate_interval": "1m", "$instance": ".*"}  # what it puts in before it asks


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [prometheus_tool("promtool"), *map(str, arguments)]
    return subprocess.run(command, cwd=PROMETHEUS, capture_output=True, text=True, check=False)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def asked_by_the_dashboard() -> list[str]:
    """The expressions of all panels, as Prometheus gets them."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    for name, value in IN_GRAFANA.items():
        found = [expression.replace(name, value) for expression in found]
    return found


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
    ids=["configuration", "alerts"],
)
def test_prometheus_agrees_with_what_is_shipped(arguments: tuple[str, ...]) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_fires_too_early_fails_its_test(tmp_path: Path) -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text()
    changed = rules.replace("convergence_feature_age_seconds > 3600", "convergence_feature_age_seconds > 60")
    assert changed != rules
    (tmp_path / "alerts.yml").write_text(changed)
    (tmp_path / "alerts_test.yml").write_text((PROMETHEUS / "alerts_test.yml").read_text())
    done = promtool("test", "rules", tmp_path / "alerts_test.yml")
    assert done.returncode != 0
    assert "FeaturesOld" in done.stdout + done.stderr


def test_every_alert_is_tested_and_says_what_to_do() -> None:
    tested = (PROMETHEUS / "alerts_test.yml").read_text()
    assert [rule["alert"] for rule in alerts() if f'"{rule["alert"]}"' not in tested] == []
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"].keys() == {"summary", "next"}


def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(asked_by_the_dashboard())]
    assert len(rules) >= 15
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_panels_of_the_dashboard_are_told_apart_and_do_not_overlap() -> None:
    every = json.loads(DASHBOARD.read_text())["panels"]
    assert max(Counter(panel["id"] for panel in every).values()) == 1
    places = [panel["gridPos"] for panel in every]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert max(Counter(cells).values()) == 1
    assert max(x for x, _ in cells) < 24
    assert all(panel["title"] and panel["description"] for panel in panels())
