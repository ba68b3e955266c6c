"""The initial network of a trial: from its configuration, the task, and an exported network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dln_core.config import NetworkConfig, TrialSettings, require
from dln_core.export import load_network
from dln_core.layers import LanguageLayer, Layer, ToolLayer
from dln_core.network import EMPTY_HIDDEN, Network
from dln_core.randomness import Choice, generator
from dln_core.tasks.task import Task
from dln_core.templates import load_template
from dln_core.tools import load_tools
from dln_core.types import Demonstration, Example, Prompt

HIDDEN_OUTPUT_NAME = "Thoughts"
TOOLS_OUTPUT_NAME = "Observation"


def initial_network(settings: TrialSettings, task: Task) -> Network:
    """The network that a trial starts from.

    An exported network gives its prompts to the layers of the same names.  One that has layers
    which the configured network lacks replaces it whole.
    """
    config = settings.network
    network = build_network(config, task, _shots(config, task, settings.seed))
    if config.init is None:
        return network
    tools = [tool for layer in config.layers for tool in layer.tools]
    return warm_start(network, load_network(config.init, tools), config)


def build_network(config: NetworkConfig, task: Task, shots: Sequence[Example] = ()) -> Network:
    """Make a network.

    Args:
        config: The layers.
        task: Gives the instruction and the output bound of layers that have none of their own,
            and the names of the fields.
        shots: Training examples that the answering layer is given as demonstrations; with
            ``shots: nearest`` those to choose from.
    """
    layers = tuple(_build_layer(config, index, task) for index in range(len(config.layers)))
    network = Network(name=config.name, input_name=task.input_name, layers=layers)
    if not shots:
        return network
    node = network.graph.answers[0]
    stand_ins = dict.fromkeys(range(len(network.graph.nodes)), EMPTY_HIDDEN)
    demonstrations = tuple(
        Demonstration(network.body(node, shot, stand_ins), shot.target) for shot in shots
    )
    last = network.writer_layer(len(layers) - 1)
    prompts = tuple(replace(prompt, demonstrations=demonstrations) for prompt in last.prompts)
    nearest = config.num_shots if config.shots == "nearest" else None
    return replace(
        network, layers=(*layers[:-1], replace(last, prompts=prompts, num_nearest=nearest))
    )


def warm_start(network: Network, exported: Network, config: NetworkConfig) -> Network:
    """Give a network the prompts of an exported one, and the configuration's choice of training.

    Raises:
        ConfigError: If a layer that is to be trained is not there, or prompts do not fit.
    """
    names = {layer.name for layer in network.layers}
    known = {layer.name: layer for layer in exported.layers}
    if not known.keys() <= names:
        return replace(exported, layers=tuple(_trained(x, config) for x in exported.layers))
    layers: list[Layer] = []
    for layer in network.layers:
        source = known.get(layer.name)
        if not isinstance(layer, LanguageLayer) or not isinstance(source, LanguageLayer):
            layers.append(layer)
            continue
        require(
            len(source.prompts) == len(layer.prompts),
            f"layer {layer.name} has {len(layer.prompts)} prompts, but {len(source.prompts)} in "
            f"{config.init}; give it the same width and shares_prompt",
        )
        layers.append(replace(layer, prompts=source.prompts, num_nearest=source.num_nearest))
    # A label prior belongs to all prompts together.
    bias = exported.label_bias if known.keys() == names else {}
    return replace(network, layers=tuple(layers), label_bias=bias)


def _trained(layer: Layer, config: NetworkConfig) -> Layer:
    if isinstance(layer, ToolLayer) or (config.is_trained and config.trained is None):
        return layer
    # What is configured as not trained has no seed in its name: it must not be trained after all.
    return replace(layer, trained=layer.name in (config.trained or ()))


def _shots(config: NetworkConfig, task: Task, seed: int) -> list[Example]:
    if config.num_shots == 0:
        return []
    if config.shots == "nearest":
        return list(task.splits.train)
    return random_shots(task, config.num_shots, seed)


def random_shots(task: Task, count: int, seed: int) -> list[Example]:
    """Training examples drawn without replacement."""
    train = task.splits.train
    order = generator(seed, 0, Choice.shots).permutation(len(train))
    return [train[i] for i in order[:count]]


def _build_layer(config: NetworkConfig, index: int, task: Task) -> Layer:
    layer, is_last = config.layers[index], index == len(config.layers) - 1
    reads = tuple(config.reads(index))
    if layer.tools:
        load_tools(layer.tools)
        return ToolLayer(
            name=layer.name,
            reads=reads,
            output_name=layer.output_name or TOOLS_OUTPUT_NAME,
            tools=tuple(layer.tools),
            width=layer.width,
            join=layer.join,
        )
    prompt = Prompt(task.instruction if layer.instruction is None else layer.instruction)
    return LanguageLayer(
        name=layer.name,
        reads=reads,
        template=load_template(layer.template),
        output_name=layer.output_name or (task.output_name if is_last else HIDDEN_OUTPUT_NAME),
        prompts=(prompt,) * layer.num_prompts,
        trained=config.trains(index),
        max_tokens=layer.max_tokens or task.max_answer_tokens,
        temperature=layer.temperature,
        width=layer.width,
        join=layer.join,
    )
