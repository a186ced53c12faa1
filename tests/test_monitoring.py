"""Alerts and the dashboard ask for metrics that there are, and each alert is explained."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from worker import metrics

ROOT = Path(__file__).parents[1]
MONITORING = ROOT / "docker" / "monitoring"
#: Of Prometheus itself, of its client library, and of the API, which reads them from the rows.
OTHERS = {"up", "ALERTS", "process_resident_memory_bytes", "kinora_jobs", "kinora_workers"}


def alerts() -> list[dict]:
    return yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"][0]["rules"]


def dashboard() -> dict:
    return json.loads((MONITORING / "dashboards" / "kinora.json").read_text())


def expressions() -> list[str]:
    shown = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return shown + [alert["expr"] for alert in alerts()]


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_asks_for_metrics_that_there_are(expression: str) -> None:
    there = {
        name
        for collector in (
            metrics.ENDED,
            metrics.STAGE_SECONDS,
            metrics.LOAD_SECONDS,
            metrics.DELIVERIES,
            metrics.REQUEUED,
        )
        for name in REGISTRY._collector_to_names[collector]
    }
    asked = set(re.findall(r"\b(?:up|ALERTS|kinora_\w+|process_\w+)\b(?=[{\[\s)]|$)", expression))

    assert asked
    assert asked <= there | OTHERS


def test_the_first_webhook_that_is_given_up_is_an_increase() -> None:
    program = "import worker.metrics, prometheus_client as p; print(p.generate_latest().decode())"

    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    assert 'kinora_webhook_attempts_total{outcome="failed"} 0.0' in shown


def test_every_alert_says_what_is_wrong_and_the_how_to_says_what_to_do() -> None:
    how_to = (ROOT / "docs" / "operate.md").read_text()
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"].endswith(".")
        assert f"### {alert['alert']}\n" in how_to


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in dashboard()["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
