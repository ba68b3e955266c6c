"""From overrides to typed configurations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dln_core.config import PhaseConfig
from dln_core.errors import ConfigError
from orchestrator.settings.compose import Composer
from orchestrator.settings.config_sources import find_folders
from orchestrator.settings.schema import RunConfig


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer()


def points(configs: list[RunConfig]) -> list[tuple[str, str, int]]:
    return [(config.task.name, config.network.name, config.seed) for config in configs]


def test_without_a_sweep_there_is_one_configuration(composer: Composer) -> None:
    [config] = composer.compose(["task=navigate", "network=dln2", "seed=13"])
    assert points([config]) == [("navigate", "dln2", 13)]
    assert [layer.name for layer in config.network.layers] == ["thoughts", "output"]


def test_a_sweep_file_switches_multirun_on_by_itself(composer: Composer) -> None:
    configs = composer.compose(["+sweep=smoke"])
    assert {config.sweep for config in configs} == {"smoke"}
    assert points(configs) == [
        ("triage", network, seed) for network in ("zero_shot", "dln1", "dln2") for seed in (13, 42)
    ]


def test_a_given_value_takes_the_place_of_the_sweeps_own_axis(composer: Composer) -> None:
    configs = composer.compose(["+sweep=bbh_all", "task=navigate,object_counting", "seed=13"])
    assert points(configs) == [
        (task, network, 13)
        for task in ("navigate", "object_counting")
        for network in ("zero_shot", "dln1", "dln2")
    ]


def test_several_values_are_a_sweep_with_multirun_alone(composer: Composer) -> None:
    configs = composer.compose(["task=triage,routing", "seed=range(1,3)"], multirun=True)
    assert points(configs) == [
        (task, "dln1", seed) for task in ("triage", "routing") for seed in (1, 2)
    ]
    with pytest.raises(ConfigError, match="add -m"):
        composer.compose(["task=triage,routing"])


def test_a_value_holds_for_every_choice_of_its_group(composer: Composer) -> None:
    overrides = ["trainer=paper,exact", "trainer.num_iterations=3"]
    configs = composer.compose(overrides, multirun=True)
    assert [(c.trainer.preset, c.trainer.num_iterations) for c in configs] == [
        ("paper", 3),
        ("exact", 3),
    ]


def test_tables_of_two_points_do_not_mix(composer: Composer) -> None:
    configs = composer.compose(["llm.extra={a:1},{b:2}"], multirun=True)
    assert [config.llm.extra for config in configs] == [{"a": 1}, {"b": 2}]


def test_lists_of_tables_are_swept_over_and_do_not_mix(composer: Composer) -> None:
    both = "trainer.phases=[{layers:[output],num_iterations:2}],[]"
    configs = composer.compose([both, "trainer.patience=null", "seed=1,2"], multirun=True)
    phases = [config.trainer.phases for config in configs]
    assert phases[0] == phases[1] == [PhaseConfig(layers=["output"], num_iterations=2)]
    assert phases[0] is not phases[1]
    assert phases[2:] == [[], []]


def test_points_share_no_object_that_can_change(composer: Composer) -> None:
    first, second = composer.compose(["seed=1,2"], multirun=True)
    first.network.layers[0].instruction = "changed"
    assert second.network.layers[0].instruction is None


def test_points_may_refer_to_what_differs_between_them(composer: Composer) -> None:
    refers = ["seed=3,4", "trainer.num_prompts=${seed}", "trainer.batch_size=5,6"]
    configs = composer.compose(refers, multirun=True)
    found = [(c.seed, c.trainer.num_prompts, c.trainer.batch_size) for c in configs]
    assert found == [(3, 3, 5), (3, 3, 6), (4, 4, 5), (4, 4, 6)]


def test_what_fits_one_point_and_not_another_is_told(composer: Composer) -> None:
    phases = "trainer.phases=[],[{layers:[thoughts],num_iterations:1}]"
    with pytest.raises(ConfigError, match="names 'thoughts', which is no trained layer"):
        composer.compose([phases, "trainer.patience=null", "seed=1,2"], multirun=True)


def test_a_backward_model_is_chosen_like_the_forward_one(composer: Composer) -> None:
    [alone] = composer.compose([])
    [both] = composer.compose(["backward_llm=openai", "backward_llm.model=other"])
    [judged] = composer.compose(["task.judge=llm", "judge_llm=openai", "judge_llm.extra.top_k=1"])
    assert alone.judge_llm is both.judge_llm is None
    assert judged.judge_llm is not None
    assert judged.judge_llm.extra == {"top_k": 1}
    assert alone.backward_llm is None
    assert both.backward_llm is not None
    assert (both.backward_llm.model, both.llm.provider) == ("other", "local")
    [bounded] = composer.compose(["backward_limits=default", "backward_limits.max_concurrency=4"])
    assert bounded.backward_limits is not None
    assert bounded.backward_limits.max_concurrency == 4


def test_a_group_that_may_be_left_out_can_be_set_to_null(composer: Composer) -> None:
    [config] = composer.compose(["backward_llm=null", "backward_limits=null", "judge_llm=null"])
    assert config.backward_llm is config.judge_llm is None
    assert config.backward_limits is None


def test_any_parameter_of_a_request_can_be_set(composer: Composer) -> None:
    [config] = composer.compose(["llm.extra.top_k=5"])
    assert config.llm.extra == {"top_k": 5}


def test_resources_are_named_at_will(composer: Composer) -> None:
    for override in ("resources={GPU:1}", "resources.GPU=1"):
        [config] = composer.compose([override])
        assert config.resources == {"GPU": 1.0}
    swept = composer.compose(["resources=choice({},{GPU:1})"], multirun=True)
    assert [config.resources for config in swept] == [{}, {"GPU": 1.0}]
    with pytest.raises(ConfigError, match="resources=null leaves resources without a value"):
        composer.compose(["resources=null"])


def test_the_data_folder_defaults_to_the_environments(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLN_DATA_DIR", "/somewhere")
    assert composer.compose([])[0].data.dir == "/somewhere"
    monkeypatch.delenv("DLN_DATA_DIR")
    assert composer.compose([])[0].data.dir is None


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.num_iteratons=3", "trainer.num_iteratons is no setting.*trainer.num_iterations"),
        ("+trainer.nmu_prompts=3", "nmu_prompts is no setting"),
        ("speed=3", "speed is no setting.*did you mean seed"),
        ("llm=opnai", "llm=opnai is unknown; did you mean openai"),
        ("budget=x", "budget=x is unknown; choose one of: none"),
        ("task=navigat", "task=navigat is unknown; did you mean navigate.*tasks list"),
        ("+sweep=smok", r"\+sweep=smok is unknown; did you mean smoke"),
        ("sweep=smoke", r"write \+sweep=NAME"),
        ("trainer=3", "trainer=3 is unknown; choose one of: ape, exact, fast, paper"),
        ("limits=null", "limits=null is unknown; choose one of: default"),
        ("task=1", "task=1 is unknown.*tasks list"),
        ("seed=abc", "seed=abc must be a whole number"),
        ("seed=null", "seed=null leaves seed without a value"),
        ("seed=-1", "seed=-1 must not be negative"),
        ("seed=100000000000000000000", "is too large; it must be below"),
        ("budget.max_seconds=soon", "budget.max_seconds=soon must be a number"),
        ("trainer.posterior.use_prior=maybe", "use_prior=maybe must be true or false"),
        ("llm.omit=seed", "llm.omit must be a list"),
        ("llm.price.prompt_usd_per_million=-1", "must not be negative"),
        ("tracking.uri=''", "tracking.uri= is no address.*sqlite:///mlflow.db"),
        ("tracking.uri=mlruns", "tracking.uri=mlruns is no address"),
        ("tracking.uri=ftp://me:secret@host", "tracking.uri=ftp://host is no address"),
        ("cluster.dashboard_port=70000", "dashboard_port=70000 must be from 0"),
        ("limits.requests_per_minute=0", "limits.requests_per_minute=0.* above zero"),
        ("trainer.selection=best", "trainer.selection holds several settings"),
        ("network.layers=[{name:x,wide:2}]", "wide is no setting"),
        ("network.layers=[{name:x,reads:[y]}]", "reads 'y', which is no earlier layer"),
        ("trainer.phases=[{layers:[output]}]", "set trainer.patience=null"),
        ("trainer.phases=[{layer:[output]}]", "layer is no setting"),
        ("trainer.guide={prior:0,hindsight:0}", "trainer.guide gives every kind the share 0"),
        ("trainer.proposal.mix.rewrite=-1", "mix.rewrite=-1.* must not be negative"),
        ("scoring.rung=best", "scoring.rung=best is unknown; choose one of: auto, score"),
        ("scoring.num_samples=0", "scoring.num_samples=0 must be at least 1"),
        ("calibration=yes", "calibration=yes is unknown; choose one of: none, empirical"),
        ("llm=openai_compatible", "llm.base_url is missing"),
        ("llm.base_url=localhost:8000/v1", "must begin with http:// or https://"),
        ("backward_llm.model=x", "choose one first, e.g. backward_llm=openai"),
        ("llm.base_url=http://h:99999/v1", "llm.base_url=http://h:99999/v1 must .* up to 65535"),
        ("tracking.uri=http://localhost:99999", "http://localhost:99999 has .* else than a port"),
        ("tracking.uri='http://me:secret@h:x'", "tracking.uri=h:x has .* else than a port"),
        ("network.layers.output.temperature=0.1", r"list; write network\.layers\.0\.temperature=…"),
        ("llm.omit.first=seed", "llm.omit is a list; write llm.omit.0=…"),
        ("task=[triage,routing]", "takes one option; write -m task=triage,routing to run each"),
        ("network=[dln1,dln2]", "write -m network=dln1,dln2"),
        ("hello", "hello cannot be read as a setting"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(
    composer: Composer, override: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        composer.compose([override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("task=triage,navigat", "task=navigat is unknown; did you mean navigate"),
        ("seed=1,x", "seed=x must be a whole number"),
        ("trainer=fast,3", "trainer=3 is unknown"),
        ("seed=interval(1,2)", "is an interval; list its values"),
        ("+sweep=smoke,bbh_all", "cannot be swept over"),
        ("trainer.num_hiden=1,2", "did you mean trainer.num_hidden"),
        ("backward_llm.model=a,b", "choose one first, e.g. backward_llm=openai"),
        ("network.layers.output.temperature=0.1,0.2", r"write network\.layers\.0\.temperature=…"),
        ("task=[triage,routing],trec", "write -m task=triage,routing"),
    ],
)
def test_a_mistake_in_an_axis_is_told_too(composer: Composer, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        composer.compose([override], multirun=True)


def test_files_in_the_working_directory_add_options(tmp_path: Path) -> None:
    for folder in ("conf/network", "conf/task", "sweeps"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "conf/network/mine.yaml").write_text("name: mine\nlayers: [{trained: false}]\n")
    (tmp_path / "conf/network/dln1.yaml").write_text("name: not_the_shipped_one\n")
    (tmp_path / "conf/task/shouted.yaml").write_text("name: triage\ninstruction: SORT!\n")
    params = "{network: 'mine,dln1', task: 'shouted,routing'}"
    (tmp_path / "sweeps/own.yaml").write_text(
        f"hydra: {{mode: MULTIRUN, sweeper: {{params: {params}}}}}"
    )
    configs = Composer(find_folders(tmp_path)).compose(["+sweep=own"])
    assert points(configs) == [
        (task, network, 13) for network in ("mine", "dln1") for task in ("triage", "routing")
    ]
    assert [config.task.instruction for config in configs] == ["SORT!", None] * 2
    assert {config.sweep for config in configs} == {"own"}


@pytest.fixture
def own_sweep(tmp_path: Path) -> Callable[[str], Composer]:
    """Write a sweep file of the user's own, ``sweeps/own.yaml``."""

    def write(content: str) -> Composer:
        (tmp_path / "sweeps").mkdir()
        (tmp_path / "sweeps/own.yaml").write_text(content)
        return Composer(find_folders(tmp_path))

    return write


def test_a_file_with_axes_is_a_sweep_though_it_does_not_say_so(
    own_sweep: Callable[[str], Composer],
) -> None:
    composer = own_sweep("hydra: {sweeper: {params: {task: 'triage,routing', seed: '1,2'}}}")
    assert points(composer.compose(["+sweep=own", "seed=3,4"])) == [
        (task, "dln1", seed) for task in ("triage", "routing") for seed in (3, 4)
    ]


def test_an_axis_of_a_file_may_name_resources(own_sweep: Callable[[str], Composer]) -> None:
    configs = own_sweep("hydra: {sweeper: {params: {resources.GPU: '1,2'}}}").compose(
        ["+sweep=own"]
    )
    assert [config.resources for config in configs] == [{"GPU": 1.0}, {"GPU": 2.0}]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ("seed: [1, 2]", r"seed=\[1, 2\] must be a whole number; .* in a sweep .* text, seed: 1,2"),
        ("network.name: [a, b]", "network.name: Cannot convert.*; .* text, network.name: a,b"),
        ("task: [triage, routing]", "or in a sweep file as text, task: triage,routing"),
    ],
)
def test_a_yaml_list_as_an_axis_is_told_to_be_a_text(
    own_sweep: Callable[[str], Composer], params: str, sentence: str
) -> None:
    composer = own_sweep(f"hydra: {{mode: MULTIRUN, sweeper: {{params: {{{params}}}}}}}")
    with pytest.raises(ConfigError, match=sentence) as caught:
        composer.compose(["+sweep=own"])
    assert "\n" not in str(caught.value)


def test_a_yaml_list_is_one_value_of_a_setting_that_is_a_list(
    own_sweep: Callable[[str], Composer],
) -> None:
    composer = own_sweep("hydra: {sweeper: {params: {llm.omit: [seed, stop], seed: '1,2'}}}")
    configs = composer.compose(["+sweep=own"])
    assert [config.llm.omit for config in configs] == [["seed", "stop"]] * 2


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/broken.yaml").write_text("a: [1\n")
    composer = Composer(find_folders(tmp_path))
    with pytest.raises(ConfigError, match=r"broken\.yaml cannot be read as YAML"):
        composer.compose(["+sweep=broken"])
