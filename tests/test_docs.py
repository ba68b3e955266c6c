"""The documentation: links lead somewhere, examples are what the program does."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from orchestrator.cli import main
from tests.notebooks import code_cells, outputs_of

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def anchors(page):
    """The names by which a page's headings are linked to."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_picture_of_a_page_is_there(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in PAGES[2:]:
        name = str(page.relative_to(ROOT / "docs"))
        assert name == "README.md" or f"({name}" in index, name


def test_the_files_of_the_tutorial_make_the_plan_that_it_shows(tmp_path, monkeypatch, capsys):
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    files = re.findall(r"```yaml\n# (\S+)\n(.*?)```", tutorial, re.DOTALL)
    assert [name for name, _ in files] == ["conf/task/messages.yaml", "sweeps/messages.yaml"]
    for name, text in files:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    assert main(["+sweep=messages", "llm=simulated", "action=plan"]) == 0
    plan = json.loads((tmp_path / "runs" / "messages" / "plan.json").read_text())
    trials = [(trial["network"], str(trial["seed"])) for trial in plan["trials"]]
    assert trials == re.findall(r"│ \w{16} │ messages │ (\w+) +│ (\d+)", tutorial)
    trial_ids = {trial["trial_id"] for trial in plan["trials"]}
    assert set(re.findall(r"│ (\w{16}) │ messages", tutorial)) == trial_ids
    assert set(re.findall(r"messages/trials/(\w{16})", tutorial)) <= trial_ids


@pytest.mark.slow
async def test_the_notebook_does_what_it_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text(encoding="utf-8"))
    cells = code_cells(notebook)
    outputs = await outputs_of("".join(cell["source"]) for cell in cells)
    assert [texts(output) for output in outputs] == [texts(cell["outputs"]) for cell in cells]


def texts(outputs):
    return [output.get("text") or output["data"]["text/plain"] for output in outputs]
