"""What `monitoring/` and its documents promise: rules, alerts, dashboards, runbooks."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from blurline import metrics
from tests.parts import ROOT, run_tool

MONITORING = ROOT / "monitoring"
RULES = sorted((MONITORING / "rules").glob("*.yml"))
RULE_TESTS = sorted((MONITORING / "tests").glob("*.yml"))
DASHBOARDS = sorted((MONITORING / "grafana/dashboards").glob("*.json"))
RUNBOOKS = (ROOT / "docs/runbooks.md").read_text()
PAGE = (ROOT / "docs/monitoring.md").read_text()
COUNTERS = {"blurline_images"}
ENDINGS = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
    "gauge": ("",),
}


@cache
def rules() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def panels() -> Iterator[dict[str, Any]]:
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        yield from (panel for panel in panels if panel.get("targets"))


def expressions() -> Iterator[str]:
    """Every PromQL expression of the rules and of the dashboards."""
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def families() -> dict[str, str]:
    """The type of each metric of our own, by name."""
    own = {
        metric.name: metric.type
        for metric in REGISTRY.collect()
        if metric.name.startswith("blurline_")
    }
    asked = {
        name: "counter" if name in COUNTERS else "gauge"
        for name in (*metrics.SHARED, *metrics.MACHINE)
    }
    return own | asked


def series() -> set[str]:
    """The name of every time series that the API and the workers offer."""
    return {name + ending for name, kind in families().items() for ending in ENDINGS[kind]}


# Metrics


def test_every_metric_follows_the_conventions_of_prometheus() -> None:
    units = ("seconds", "bytes", "ratio", "info")
    counts = ("depth", "capacity", "processing", "processes", "threads", "busy", "running", "size")
    counts += ("files", "confidence", "detections", "redactions")
    for name, kind in families().items():
        assert re.fullmatch(r"blurline(_[a-z]+)+", name), name
        assert kind == "counter" or name.endswith((*units, *counts)), name


def test_no_label_holds_what_has_no_bounds() -> None:
    known = {"method", "route", "status", "outcome", "code", "stage", "model", "sha256"}
    known |= {"label", "target", "place", "version", "le", "queue", "pipeline"}
    for metric in REGISTRY.collect():
        if metric.name.startswith("blurline_"):
            for sample in metric.samples:
                assert set(sample.labels) <= known, sample


def test_the_page_lists_every_metric() -> None:
    rows = re.findall(r"^\| `(blurline_\w+)`", PAGE, re.MULTILINE)
    assert len(rows) == len(set(rows))
    assert set(rows) == {
        f"{name}_total" if kind == "counter" else name for name, kind in families().items()
    }


# Rules


def test_rules_and_dashboards_read_only_metrics_that_exist() -> None:
    used = {name for text in expressions() for name in re.findall(r"blurline[_:][\w:]+", text)}
    assert used
    assert used <= series() | recorded()


def test_rules_and_dashboards_ask_for_outcomes_that_are_counted_from_the_start() -> None:
    known: dict[str, set[str]] = {"blurline_images_total": {"completed", "failed"}}
    metrics.expect_jobs("a queue", "a pipeline")  # as a worker does when it starts
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if outcome := sample.labels.get("outcome"):
                known.setdefault(sample.name, set()).add(outcome)
    asked = [
        (name, outcome)
        for text in expressions()
        for name, values in re.findall(r'(blurline_\w+)\{[^}]*outcome=~?"([^"]+)"', text)
        for outcome in values.split("|")
    ]
    assert {"taken", "failed", "retried"} <= {outcome for _, outcome in asked}
    for name, outcome in asked:
        assert outcome in known[name], (name, outcome)


def test_every_rule_that_is_recorded_is_used() -> None:
    used = " ".join(expressions())
    for name in recorded():
        assert used.count(name), name


def test_every_alert_says_how_bad_and_what_it_means() -> None:
    for rule in alerts().values():
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}


def test_every_alert_has_its_section_in_the_runbooks_and_no_section_is_left_over() -> None:
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{name.lower()}"
    sections = re.split(r"^### ", RUNBOOKS, flags=re.MULTILINE)[1:]
    assert [section.split("\n")[0] for section in sections] == list(
        dict.fromkeys(section.split("\n")[0] for section in sections)
    )
    assert {section.split("\n")[0] for section in sections} == set(alerts())
    for section in sections:
        for word in ("**Means.**", "**Look.**", "**Do.**"):
            assert word in section, section


def test_every_rule_has_a_test() -> None:
    tested = " ".join(path.read_text() for path in RULE_TESTS)
    for name in alerts():
        assert f'alertname="{name}"' in tested, name
    for name in recorded():
        assert name in tested, name


def test_prometheus_reads_every_file_of_rules() -> None:
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    found = [path for name in config["rule_files"] for path in MONITORING.glob(name)]
    assert sorted(found) == RULES


@pytest.mark.validator(name="promtool")
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.name)
def test_each_trouble_raises_its_alert_and_no_other(path: Path) -> None:
    run_tool("promtool", "test", "rules", path)


@pytest.mark.validator(name="promtool")
def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    filled = (
        text.replace("$__rate_interval", "1m").replace("$__range", "1h") for text in expressions()
    )
    group = {
        "name": "all",
        "rules": [{"record": f"one:{n}", "expr": text} for n, text in enumerate(filled)],
    }
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [group]}))
    run_tool("promtool", "check", "rules", path)


# Alertmanager


def routed(**labels: str) -> str:
    config = MONITORING / "alertmanager.yml"
    given = [f"{name}={value}" for name, value in labels.items()]
    return run_tool("amtool", "config", "routes", "test", f"--config.file={config}", *given).strip()


@pytest.mark.validator(name="amtool")
def test_alertmanager_takes_its_configuration() -> None:
    run_tool("amtool", "check-config", MONITORING / "alertmanager.yml")


@pytest.mark.validator(name="amtool")
@pytest.mark.parametrize(("severity", "receiver"), [("critical", "come"), ("warning", "look")])
def test_who_has_to_come_is_told_of_what_is_critical(severity: str, receiver: str) -> None:
    for rule in alerts().values():
        if rule["labels"]["severity"] == severity:
            assert routed(alertname=rule["alert"], severity=severity) == receiver


def test_alerts_that_silence_others_exist() -> None:
    text = (MONITORING / "alertmanager.yml").read_text()
    names = set(re.findall(r"Blurline\w+", text))
    families = {name for name in names if f"{name}.*" in text}
    assert names - families <= set(alerts())
    for family in families:
        assert [name for name in alerts() if name.startswith(family)]


# Dashboards


def test_dashboards_are_those_of_the_code() -> None:
    pytest.importorskip("grafana_foundation_sdk")
    from monitoring.dashboards.files import FOLDER, pages

    wanted = pages()
    assert {path.name for path in FOLDER.glob("*.json")} == set(wanted)
    for name, content in wanted.items():
        assert (FOLDER / name).read_text() == content, f"{name} is old: make dashboards"


def test_dashboards_are_provisioned_with_their_data_source() -> None:
    provisioning = MONITORING / "grafana/provisioning"
    sources = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())
    providers = yaml.safe_load((provisioning / "dashboards/dashboards.yml").read_text())
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    folder = providers["providers"][0]["options"]["path"]
    mount = f"./monitoring/grafana/dashboards:{folder}:ro"
    assert mount in compose["services"]["grafana"]["volumes"]
    known = {source["uid"] for source in sources["datasources"]}
    assert {panel["datasource"]["uid"] for panel in panels()} <= known


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_panels_have_numbers_titles_and_a_place_of_their_own(path: Path) -> None:
    found = json.loads(path.read_text())["panels"]
    assert len({panel["id"] for panel in found}) == len(found)
    places = [tuple(panel["gridPos"][edge] for edge in "xywh") for panel in found]
    for index, (x, y, w, h) in enumerate(places):
        assert x + w <= 24
        for other_x, other_y, other_w, other_h in places[:index]:
            apart_x = x >= other_x + other_w or other_x >= x + w
            assert apart_x or y >= other_y + other_h or other_y >= y + h
    for panel in found:
        assert panel["title"]


def test_the_page_names_every_dashboard() -> None:
    for path in DASHBOARDS:
        assert f"`{path.stem}`" in PAGE
