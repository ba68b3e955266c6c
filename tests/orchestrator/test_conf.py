"""What the shipped configuration holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dln_core.tasks import task_names
from orchestrator.compose import Composer
from orchestrator.config_sources import find_folders
from orchestrator.schema import RunConfig

FOLDERS = find_folders(Path.cwd())
GROUPS = {
    group.name: sorted(path.stem for path in group.glob("*.yaml"))
    for group in sorted(FOLDERS.conf[0].iterdir())
    if group.is_dir() and any(group.glob("*.yaml"))
}
MOST_OPTIONS = max(len(options) for options in GROUPS.values())
SWEEPS = [path.stem for path in sorted(FOLDERS.sweeps[0].glob("*.yaml"))]


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def compose_one(composer: Composer, *overrides: str) -> RunConfig:
    [config] = composer.compose(overrides)
    return config


@pytest.mark.parametrize("position", range(MOST_OPTIONS))
def test_every_option_composes(composer: Composer, position: int) -> None:
    chosen = {group: options[position % len(options)] for group, options in GROUPS.items()}
    overrides = [f"{group}={option}" for group, option in chosen.items()]
    if chosen["llm"] == "openai_compatible":
        overrides += ["llm.base_url=http://localhost/v1", "llm.model=any"]
    config = compose_one(composer, *overrides)
    assert config.network.name == chosen["network"]
    assert config.trainer.preset == chosen["trainer"]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_names_tasks_that_exist_and_three_seeds_at_most(
    composer: Composer, sweep: str
) -> None:
    configs = composer.compose([f"+sweep={sweep}", "network=dln1"])
    assert {config.task.name for config in configs} <= set(task_names())
    assert {config.sweep for config in configs} == {sweep}
    assert {config.seed for config in configs} <= {13, 42, 25}


def test_bbh_all_holds_27_tasks_with_three_networks_and_seeds(composer: Composer) -> None:
    configs = composer.compose(["+sweep=bbh_all"])
    assert len({config.task.name for config in configs}) == 27
    assert {config.network.name for config in configs} == {"zero_shot", "dln1", "dln2"}
    assert len(configs) == 27 * 3 * 3


def test_smoke_needs_neither_weights_nor_data(composer: Composer) -> None:
    for config in composer.compose(["+sweep=smoke"]):
        assert config.llm.provider == "simulated"
        assert config.task.name in ("triage", "routing", "stock_count")


def test_the_papers_preset_has_the_papers_numbers(composer: Composer) -> None:
    trainer = compose_one(composer, "trainer=paper").trainer
    assert (trainer.batch_size, trainer.num_iterations) == (20, 20)
    assert (trainer.num_prompts, trainer.num_hidden, trainer.selection.memory) == (20, 5, 5)
    assert trainer.validate_every == 2
    assert trainer.selection.logprob_scale == "per_token"
    assert not trainer.posterior.use_guide_density


def test_the_exact_preset_weighs_by_true_importance(composer: Composer) -> None:
    trainer = compose_one(composer, "trainer=exact").trainer
    assert trainer.selection.logprob_scale == "sum"
    assert trainer.posterior.use_guide_density


@pytest.mark.parametrize("network", ["zero_shot", "few_shot", "cot"])
def test_reference_networks_are_not_trained(composer: Composer, network: str) -> None:
    assert not compose_one(composer, f"network={network}").network.is_trained


@pytest.mark.parametrize("network", ["cot", "dln2"])
def test_the_second_layer_reads_the_input_too(composer: Composer, network: str) -> None:
    layers = compose_one(composer, f"network={network}").network.layers
    assert [(layer.template, layer.residual) for layer in layers] == [
        ("hidden", False),
        ("answer", True),
    ]


@pytest.mark.parametrize("llm", ["vllm", "ollama"])
def test_servers_of_ones_own_are_not_sent_another_services_key(
    composer: Composer, llm: str
) -> None:
    assert compose_one(composer, f"llm={llm}").llm.api_key_env != "OPENAI_API_KEY"
