"""What the shipped configuration holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from dln_core.baselines.networks import THOUGHTS_TOKENS, wording
from dln_core.config import TrainerConfig
from dln_core.config.baselines import DEFAULT_BASELINES
from dln_core.config.data import FORMATS
from dln_core.errors import ConfigError
from dln_core.tasks import task_names
from dln_core.tools import load_tools, observe
from orchestrator.settings.compose import Composer
from orchestrator.settings.config_sources import find_folders
from orchestrator.settings.schema import RunConfig

FOLDERS = find_folders(Path.cwd())
GROUPS = {
    group.name: sorted(path.stem for path in group.glob("*.yaml"))
    for group in sorted(FOLDERS.conf[0].iterdir())
    if group.is_dir() and any(group.glob("*.yaml"))
}
MOST_OPTIONS = max(len(options) for options in GROUPS.values())
NETWORKS = GROUPS["network"]
SWEEPS = [path.stem for path in sorted(FOLDERS.sweeps[0].glob("*.yaml"))]


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def shares_of(trainer: TrainerConfig) -> dict[str, float]:
    """The kinds of proposals that a mix makes at all."""
    return {kind: share for kind, share in asdict(trainer.proposal.mix).items() if share}


def compose_one(composer: Composer, *overrides: str) -> RunConfig:
    [config] = composer.compose(overrides)
    return config


@pytest.mark.parametrize("position", range(MOST_OPTIONS))
def test_every_option_composes(composer: Composer, position: int) -> None:
    chosen = {group: options[position % len(options)] for group, options in GROUPS.items()}
    overrides = [f"{group}={option}" for group, option in chosen.items()]
    if chosen["llm"] in ("openai_compatible", "azure"):
        overrides += ["llm.base_url=http://localhost/v1", "llm.model=any"]
    if chosen["task"] in FORMATS:
        overrides += ["task.path=mine", "task.input=text", "task.label=answer"]
    if chosen["scheduler"] == "asha":
        overrides += ["trainer.num_iterations=20"]
    if chosen["search"] != "grid":
        overrides += ["search.num_settings=1", "trainer.num_prompts=4,8"]
    config = compose_one(composer, *overrides)
    assert config.network.name == chosen["network"]
    assert config.trainer.preset == chosen["trainer"]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_sweep_names_tasks_that_exist_and_three_seeds_at_most(
    composer: Composer, sweep: str
) -> None:
    configs = composer.compose([f"+sweep={sweep}", "network=dln2"])
    assert {config.task.name for config in configs} <= set(task_names())
    assert {config.sweep for config in configs} == {sweep}
    assert {config.seed for config in configs} <= {13, 42, 25}


def test_bbh_all_holds_27_tasks_with_three_networks_and_seeds(composer: Composer) -> None:
    configs = composer.compose(["+sweep=bbh_all"])
    assert len({config.task.name for config in configs}) == 27
    assert {config.network.name for config in configs} == {"zero_shot", "dln1", "dln2"}
    assert len(configs) == 27 * 3 * 3


def test_reference_points_are_the_usual_ones_unless_others_are_named(composer: Composer) -> None:
    assert compose_one(composer).baselines == list(DEFAULT_BASELINES)
    assert compose_one(composer, "baselines=[kate,initial,kate]").baselines == ["initial", "kate"]
    assert compose_one(composer, "baselines=[]").baselines == []
    with pytest.raises(ConfigError, match="baselines=knn is unknown; choose one of: majority"):
        compose_one(composer, "baselines=[knn]")


def test_the_chain_of_thought_is_the_same_as_a_reference_point(composer: Composer) -> None:
    thoughts = compose_one(composer, "network=cot").network.layers[0]
    assert (thoughts.instruction, thoughts.max_tokens) == (wording().cot, THOUGHTS_TOKENS)


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
    assert (trainer.guide.temperature, trainer.guide.include_forward) == (1.0, False)


def test_the_fast_preset_drops_candidates_early(composer: Composer) -> None:
    trainer = compose_one(composer, "trainer=fast").trainer
    assert (trainer.batch_size, trainer.num_prompts, trainer.num_hidden) == (12, 20, 3)
    assert trainer.racing.first_examples == 3


def test_ape_induces_fifteen_instructions_once(composer: Composer) -> None:
    trainer = compose_one(composer, "trainer=ape").trainer
    assert (trainer.num_iterations, trainer.num_prompts, trainer.selection.memory) == (1, 15, 0)
    assert shares_of(trainer) == {"induce": 1.0}


@pytest.mark.parametrize(
    ("preset", "shares"),
    [
        ("paper", {"rewrite": 1.0}),
        ("exact", {"rewrite": 0.5, "examples": 0.5}),
        ("fast", {"rewrite": 0.9, "examples": 0.1}),
    ],
)
def test_each_preset_says_how_candidates_are_made(
    composer: Composer, preset: str, shares: dict[str, float]
) -> None:
    assert shares_of(compose_one(composer, f"trainer={preset}").trainer) == shares


def test_the_quickstart_adds_worked_examples_to_most_candidates(composer: Composer) -> None:
    for config in composer.compose(["+sweep=quickstart"]):
        assert shares_of(config.trainer) == {"rewrite": 0.25, "examples": 0.75}


def test_layers_can_be_trained_one_after_the_other(composer: Composer) -> None:
    configs = composer.compose(["+sweep=layerwise", "task=navigate", "seed=13"])
    schedules = [config.trainer for config in configs]
    steps = range(1, schedules[0].num_iterations + 1)
    assert [[trainer.phase(step) for step in steps] for trainer in schedules] == [
        [["thoughts"]] * 20,
        [["thoughts"]] * 10 + [["output"]] * 10,
        [None] * 20,
    ]


@pytest.mark.parametrize("network", NETWORKS)
def test_reference_networks_are_not_trained(composer: Composer, network: str) -> None:
    is_trained = compose_one(composer, f"network={network}").network.is_trained
    assert is_trained == network.startswith("dln")


@pytest.mark.parametrize(
    ("network", "graph"),
    [
        ("cot", {"thoughts": ["input"], "output": ["input", "thoughts"]}),
        ("dln2", {"thoughts": ["input"], "output": ["input", "thoughts"]}),
        (
            "dln3",
            {"plan": ["input"], "thoughts": ["input", "plan"], "output": ["input", "thoughts"]},
        ),
        ("generated_knowledge", {"knowledge": ["input"], "output": ["input", "knowledge"]}),
        (
            "reflexion",
            {
                "attempt": ["input"],
                "critique": ["input", "attempt"],
                "output": ["input", "attempt", "critique"],
            },
        ),
        (
            "react",
            {
                "thought": ["input"],
                "observation": ["thought"],
                "thought_2": ["input", "thought", "observation"],
                "observation_2": ["thought_2"],
                "output": ["input", "thought", "observation", "thought_2", "observation_2"],
            },
        ),
    ],
)
def test_every_layer_reads_what_its_technique_says(
    composer: Composer, network: str, graph: dict[str, list[str]]
) -> None:
    config = compose_one(composer, f"network={network}").network
    assert {layer.name: config.reads(i) for i, layer in enumerate(config.layers)} == graph


@pytest.mark.parametrize("network", NETWORKS)
def test_fields_that_a_layer_reads_can_be_told_apart(composer: Composer, network: str) -> None:
    config = compose_one(composer, f"network={network}").network
    names = {layer.name: layer.output_name or "Thoughts" for layer in config.layers}
    for index in range(len(config.layers)):
        fields = [names.get(read, read) for read in config.reads(index)]
        assert len(set(fields)) == len(fields)


def test_the_layers_of_dln2_are_among_those_of_dln3(composer: Composer) -> None:
    two, three = (compose_one(composer, f"network={name}").network for name in ("dln2", "dln3"))
    assert three.layers[1].instruction == two.layers[0].instruction
    assert [layer.name for layer in three.layers[1:]] == [layer.name for layer in two.layers]


@pytest.mark.parametrize(
    ("network", "shots"), [("few_shot", (5, "random")), ("kate", (5, "nearest"))]
)
def test_shots_are_chosen_as_the_technique_says(
    composer: Composer, network: str, shots: tuple[int, str]
) -> None:
    config = compose_one(composer, f"network={network}").network
    assert (config.num_shots, config.shots) == shots


def test_self_consistency_votes_over_lanes_and_the_ensemble_over_prompts(
    composer: Composer,
) -> None:
    thoughts, output = compose_one(composer, "network=self_consistency").network.layers
    assert (thoughts.width, thoughts.join, output.width, output.join) == (5, None, 5, "majority")
    [copies] = compose_one(composer, "network=dln1_ensemble").network.layers
    assert (copies.num_prompts, copies.join) == (3, "vote")


def test_react_writes_actions_that_its_tools_can_carry_out(composer: Composer) -> None:
    layers = compose_one(composer, "network=react").network.layers
    tools = load_tools(next(layer.tools for layer in layers if layer.tools))
    told = [layer.instruction or "" for layer in layers if layer.name.startswith("thought")]
    assert [observe(tools, instruction) for instruction in told] == ["9", "9"]


@pytest.mark.parametrize("llm", ["vllm", "ollama"])
def test_servers_of_ones_own_are_not_sent_another_services_key(
    composer: Composer, llm: str
) -> None:
    assert compose_one(composer, f"llm={llm}").llm.api_key_env != "OPENAI_API_KEY"
