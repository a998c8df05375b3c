"""What Prometheus' own tool says of the metrics, and of the example alerts."""

import json
import re
import subprocess
from urllib.request import urlopen

import pytest

from harness.process import HERE

DEPLOY = HERE.parents[1] / "deploy"


def promtool(*arguments: object, text: str = "") -> str:
    run = subprocess.run(
        ["promtool", *map(str, arguments)],
        cwd=DEPLOY / "prometheus",
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert run.returncode == 0, run.stdout
    return run.stdout


@pytest.mark.parametrize("backend", ["express"], indirect=True)
@pytest.mark.usefixtures("proxied")
def test_the_metrics_are_as_prometheus_wants_them(sidecar):
    with urlopen(f"{sidecar.url}/events?n=3&gap_ms=1") as answer:
        answer.read()
    with urlopen(f"{sidecar.admin}/metrics") as answer:
        text = answer.read().decode()
    assert promtool("check", "metrics", text=text) == ""


def test_bad_metrics_are_seen():
    """The control."""
    with pytest.raises(AssertionError, match="_total"):
        promtool("check", "metrics", text="# HELP a A.\n# TYPE a counter\na 1\n")


def test_the_alerts_fire_when_they_should():
    assert "SUCCESS" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_prometheus_understands_the_dashboard(tmp_path):
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    targets = [t for panel in dashboard["panels"] for t in panel.get("targets", [])]
    # What Grafana puts in their place.
    expressions = [
        re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "5m"))
        for target in targets
    ]
    # JSON is YAML.
    rules = [{"record": f"r{i}", "expr": expr} for i, expr in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
