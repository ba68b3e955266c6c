"""Pages of networks and candidates, as people read them."""

from __future__ import annotations

import csv
import io

import pytest

from orchestrator.tracking.pages import candidates_csv, network_page, prompts_page

TWO_PROMPTS = {
    "name": "output",
    "width": 2,
    "prompts": [
        {"instruction": "First one.", "demonstrations": []},
        {"instruction": "Second one.", "demonstrations": [{"input": "2+2", "output": "4"}]},
    ],
}
TOOLS = {"name": "observation", "width": 1, "tools": ["calculator", "my_module:look_up"]}


def candidate(index: int, reward: float | None, prompt: int = 0) -> dict[str, object]:
    return {
        "layer": "output",
        "prompt": prompt,
        "index": index,
        "source": "rewrite",
        "instruction": f"Try {index} of {prompt}.",
        "demonstrations": [],
        "reward": reward,
        "objective": reward or 0.0,
        "trust_region_kl": 0.0,
        "num_examples": 4 if index else 12,
        "selected": index == 0,
    }


@pytest.fixture
def step(toy_event):
    candidates = [
        candidate(0, -0.5, prompt=1),
        candidate(2, None),
        candidate(1, -0.1),
        candidate(0, -0.9),
    ]
    return toy_event(1, network={"layers": [TOOLS, TWO_PROMPTS]}, candidates=candidates)


def test_a_layer_shows_all_its_prompts_and_a_layer_of_tools_their_names():
    page = network_page("Best", {"layers": [TOOLS, TWO_PROMPTS]})
    assert "## Layer 1: observation\n\nTools: calculator, my\\_module:look\\_up" in page
    assert "## Layer 2: output (2 copies)" in page
    first, second = page.split("### Prompt 2")
    assert "First one." in first
    assert "Second one." in second
    assert "2+2\n-> 4" in second


def test_a_single_prompt_needs_no_number():
    layer = {**TWO_PROMPTS, "width": 1, "prompts": TWO_PROMPTS["prompts"][:1]}
    assert "### Prompt" not in network_page("Best", {"layers": [layer]})


def test_candidates_stand_by_prompt_and_reward_and_those_too_long_come_last(step):
    page = prompts_page(step, None)
    order = ["Try 1 of 0", "Try 0 of 0", "Try 2 of 0", "Try 0 of 1"]
    positions = [page.index(text) for text in order]
    assert positions == sorted(positions)
    [too_long] = [line for line in page.splitlines() if "Try 2 of 0" in line]
    assert "too long" in too_long
    [raced] = [line for line in page.splitlines() if "Try 1 of 0" in line]
    assert "| 4 |" in raced


def test_the_table_of_candidates_has_a_cell_for_every_heading(step):
    rows = list(csv.DictReader(io.StringIO(candidates_csv(step["candidates"]))))
    assert [row["reward"] for row in rows] == ["-0.1000", "-0.9000", "", "-0.5000"]
    assert [row["prompt"] for row in rows] == ["1", "1", "1", "2"]
    assert rows[0]["num_examples"] == "4"


def test_a_step_shows_what_changed_sentence_by_sentence(toy_event):
    def network(instruction):
        prompt = {"instruction": instruction, "demonstrations": []}
        return {"layers": [{"name": "output", "width": 1, "prompts": [prompt]}]}

    before = network("Read it. Say Urgent or Normal.")
    step = toy_event(2, network=network("Read it twice. Say Urgent or Normal."))
    page = prompts_page(step, before)
    assert "-Read it.\n+Read it twice.\n Say Urgent or Normal." in page
    assert "## Changes\n\nNone." in prompts_page(toy_event(2, network=before), before)
