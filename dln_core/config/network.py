"""The network as it is described: language layers and what each of them reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from dln_core.config.checks import require, require_choice, require_positive

INPUT = "input"
JOINS = ("concatenate", "majority", "vote")


@dataclass(slots=True, kw_only=True)
class LayerConfig:
    """One layer of a network.

    Attributes:
        name: Name in metrics and exports, and for the layers that read it.
        reads: What it reads, in order: ``input``, or the names of earlier layers; None means the
            layer before it, or the input if there is none.
        template: Name of the layer's template in ``dln_core/prompts``.
        instruction: The initial prompt; None takes the task's instruction.
        output_name: Field name before what it writes; None takes the task's for the answer, and
            "Thoughts" for a hidden text.
        trained: Whether training may change the prompt.
        max_tokens: Upper bound on the output, in tokens; None takes what the task's answers need.
        temperature: Sampling temperature of the forward pass.
        width: M, how often the layer runs.
        shares_prompt: Whether the M copies have one prompt, or one each.
        join: How the copies' outputs become one: ``concatenate`` or ``majority`` for the layers
            that read them, ``majority`` or ``vote`` (by probability) for the answer.  None joins
            nothing: copy m of a layer of the same width reads copy m.
        tools: Plain functions that the layer consists of instead of a language model: names in
            ``dln_core.tools``, or ``module:function``.
    """

    name: str = "output"
    reads: list[str] | None = None
    template: str = "answer"
    instruction: str | None = None
    output_name: str | None = None
    trained: bool = True
    max_tokens: int | None = None
    temperature: float = 0.0
    width: int = 1
    shares_prompt: bool = True
    join: str | None = None
    tools: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_positive(f"max_tokens of layer {self.name}", self.max_tokens)
        require(
            self.width >= 1, f"width={self.width} of layer {self.name} must be at least 1 (one run)"
        )
        require(
            self.temperature >= 0,
            f"temperature={self.temperature} of layer {self.name} must not be negative",
        )
        if self.join is not None:
            require_choice(f"join of layer {self.name}", self.join, JOINS)
        require(
            self.name != INPUT,
            f"a layer cannot be named {INPUT!r}, which is what the network reads; rename it",
        )

    @property
    def num_prompts(self) -> int:
        """How many prompts the layer has: one, or one a copy; none if it consists of tools."""
        if self.tools:
            return 0
        return 1 if self.shares_prompt else self.width


@dataclass(slots=True, kw_only=True)
class NetworkConfig:
    """A graph of layers, each of which reads the input or earlier layers; the last one answers.

    Attributes:
        name: Name in results.
        layers: The layers, input first.
        num_shots: Training examples that the answering layer is given as demonstrations.
        shots: Which ones: ``random`` (the same for every input) or ``nearest`` (to each input).
        init: Path of an exported network; layers of the same name take their prompts from it.
        trained: Names of the layers to train, instead of what each layer says.
    """

    name: str = "dln1"
    layers: list[LayerConfig] = field(default_factory=lambda: [LayerConfig()])
    num_shots: int = 0
    shots: str = "random"
    init: str | None = None
    trained: list[str] | None = None

    def __post_init__(self) -> None:
        require(bool(self.layers), f"network {self.name} has no layers; give at least one")
        require(self.num_shots >= 0, f"network.num_shots={self.num_shots} must not be negative")
        require_choice("network.shots", self.shots, ("random", "nearest"))
        names = [layer.name for layer in self.layers]
        require(
            len(set(names)) == len(names),
            f"network {self.name} has two layers of one name ({', '.join(names)}); rename one",
        )
        for name in self.trained or []:
            require(
                name in names,
                f"network.trained names {name!r}, which is no layer of {self.name}; choose from: "
                f"{', '.join(names)}",
            )
        require(
            self.shots == "random" or self.num_shots == 0 or not self.trains(len(names) - 1),
            f"network {self.name} trains a layer that is shown the nearest of all training "
            "examples, so none would be left to rank prompts on; set network.shots=random, or do "
            "not train it",
        )
        for index in range(len(self.layers)):
            self._check_reads(index, names)
            self._check_width(index)
        self._check_unread(names)

    @property
    def is_trained(self) -> bool:
        """Whether any layer is trained."""
        return any(self.trains(index) for index in range(len(self.layers)))

    def trains(self, index: int) -> bool:
        """Whether training may change the prompts of a layer."""
        layer = self.layers[index]
        if layer.tools:
            return False
        return layer.trained if self.trained is None else layer.name in self.trained

    def reads(self, index: int) -> list[str]:
        """What a layer reads, with the default filled in."""
        given = self.layers[index].reads
        if given is not None:
            return list(given)
        return [self.layers[index - 1].name] if index else [INPUT]

    def _check_reads(self, index: int, names: list[str]) -> None:
        layer, reads = self.layers[index], self.reads(index)
        require(bool(reads), f"layer {layer.name} reads nothing; give it the input or a layer")
        require(
            len(set(reads)) == len(reads),
            f"layer {layer.name} reads the same twice ({', '.join(reads)}); name each once",
        )
        require(
            not layer.tools or INPUT not in reads,
            f"layer {layer.name} consists of tools, which carry out what a layer wrote, so it "
            "cannot read the input; name a layer",
        )
        for name in reads:
            require(
                name == INPUT or name in names[:index],
                f"layer {layer.name} reads {name!r}, which is no earlier layer of {self.name}; "
                f"choose from: {', '.join([INPUT, *names[:index]])}",
            )

    def _check_width(self, index: int) -> None:
        layer, is_last = self.layers[index], index == len(self.layers) - 1
        if layer.width == 1:
            return
        allowed = ("majority", "vote") if is_last else ("concatenate", "majority", None)
        require(
            layer.join in allowed,
            f"join={layer.join} does not suit layer {layer.name} of width {layer.width}; choose "
            f"one of: {', '.join(str(join) for join in allowed)}",
        )
        wide = [self._layer(name) for name in self.reads(index) if name != INPUT]
        lanes = [other for other in wide if other.width > 1 and other.join is None]
        require(
            bool(lanes) or not layer.shares_prompt or layer.temperature > 0,
            f"the {layer.width} copies of layer {layer.name} would all be equal; give it a "
            "temperature above 0, or shares_prompt=false",
        )

    def _check_unread(self, names: list[str]) -> None:
        read = {name for index in range(len(names)) for name in self.reads(index)}
        for index, name in enumerate(names[:-1]):
            require(
                name in read,
                f"no layer reads {name}, so it could not change the answer"
                f"{' and not be trained' if self.trains(index) else ''}; name it in the reads of "
                "a later layer, or leave it out",
            )
        for index, layer in enumerate(self.layers):
            for name in self.reads(index):
                source = None if name == INPUT else self._layer(name)
                fits = source is None or source.join or source.width in (1, layer.width)
                require(
                    bool(fits),
                    f"layer {layer.name} (width {layer.width}) reads {name}, whose "
                    f"{source.width if source else 1} outputs are not joined; give {name} a join, "
                    "or both the same width",
                )
        require(
            not self.layers[-1].tools,
            f"the last layer of {self.name} consists of tools; a language layer has to answer",
        )

    def _layer(self, name: str) -> LayerConfig:
        return next(layer for layer in self.layers if layer.name == name)
