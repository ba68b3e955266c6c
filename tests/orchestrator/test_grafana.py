"""The provided Grafana dashboard asks for figures that are exported, by tags that they bear."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orchestrator.metrics import COUNTERS, GAUGES, SWEEP_TAGS, TRIAL_TAGS

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = json.loads((DOCS / "grafana" / "dln.json").read_text(encoding="utf-8"))
EXPORTED = {
    "ray_dln_trials": SWEEP_TAGS,
    **{f"ray_dln_{name}": TRIAL_TAGS for name in GAUGES},
    **{f"ray_dln_{name}_total": TRIAL_TAGS for name in COUNTERS},
}
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_every_exported_figure_is_shown_and_no_other():
    assert set(re.findall(r"ray_dln_\w+", " ".join(QUERIES))) == set(EXPORTED)


def test_figures_are_chosen_and_told_apart_by_their_tags():
    for query in QUERIES:
        (name,) = re.findall(r"ray_dln_\w+", query)
        chosen = re.findall(r"(\w+)=~", query)
        grouped = re.findall(r"by \((\w+)\)", query)
        assert {*chosen, *grouped} <= set(EXPORTED[name])


def test_what_can_be_chosen_are_values_of_tags():
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", " ".join(QUERIES)))
    for name in used:
        figure, tag = re.fullmatch(
            r"label_values\((\w+), (\w+)\)", variables[name]["query"]["query"]
        ).groups()
        assert tag == name
        assert tag in EXPORTED[figure]


def test_the_documentation_lists_what_is_exported():
    text = (DOCS / "running.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in EXPORTED)
