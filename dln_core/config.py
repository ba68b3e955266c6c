"""The settings of the core as typed dataclasses, checked when they are made.

The fields have the names of the command line's keys.  ``TrialSettings`` gathers everything that
the result of a trial depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dln_core.errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raise ``ConfigError(message)`` unless the condition holds."""
    if not condition:
        raise ConfigError(message)


def require_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ConfigError`` unless the value of the key is one of the choices."""
    require(value in choices, f"{key}={value} is unknown; choose one of: {', '.join(choices)}")


def require_positive(key: str, value: float | None) -> None:
    """Raise ``ConfigError`` if the value is given and not above zero."""
    if value is not None and value <= 0:
        raise ConfigError(f"{key}={value} must be above zero; null means no limit")


@dataclass(slots=True, kw_only=True)
class TaskConfig:
    """Which task, and what the user changes of it; None keeps the task's own."""

    name: str = "triage"
    instruction: str | None = None


@dataclass(slots=True, kw_only=True)
class DataConfig:
    """Where data is read from and how much of each split is used.

    Attributes:
        dir: Folder in the layout of the pinned sources; None means the user's cache.
        max_train: Upper bound on the training split; None keeps all.
        max_dev: The same for dev.
        max_test: The same for test.
    """

    dir: str | None = None
    max_train: int | None = None
    max_dev: int | None = None
    max_test: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_train", "max_dev", "max_test"):
            require_positive(f"data.{name}", getattr(self, name))


@dataclass(slots=True, kw_only=True)
class LayerConfig:
    """One language layer.

    Attributes:
        name: Name in metrics and exports.
        template: Name of the layer's template in ``dln_core/prompts``.
        instruction: The initial prompt; None takes the task's instruction.
        residual: Whether the layer also reads the network's input.
        trained: Whether training may change the prompt.
        max_tokens: Upper bound on the layer's output, in tokens; None takes what the task's
            answers need.
    """

    name: str = "output"
    template: str = "answer"
    instruction: str | None = None
    residual: bool = False
    trained: bool = True
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        require_positive(f"max_tokens of layer {self.name}", self.max_tokens)


@dataclass(slots=True, kw_only=True)
class NetworkConfig:
    """A chain of language layers, input first.

    Attributes:
        name: Name in results.
        layers: The layers; the last one answers.
        num_shots: Random training examples that the answering layer is given as demonstrations.
        init: Path of an exported network to start from instead.
    """

    name: str = "dln1"
    layers: list[LayerConfig] = field(default_factory=lambda: [LayerConfig()])
    num_shots: int = 0
    init: str | None = None

    def __post_init__(self) -> None:
        require(bool(self.layers), f"network {self.name} has no layers; give at least one")
        require(self.num_shots >= 0, f"network.num_shots={self.num_shots} must not be negative")
        names = [layer.name for layer in self.layers]
        require(
            len(set(names)) == len(names),
            f"network {self.name} has two layers of one name ({', '.join(names)}); rename one",
        )

    @property
    def is_trained(self) -> bool:
        """Whether any layer is trained."""
        return any(layer.trained for layer in self.layers)


@dataclass(slots=True, kw_only=True)
class PosteriorConfig:
    """How hidden texts are sampled and weighted (posterior sharpening).

    Attributes:
        temperature: Divides the log-weights before they are normalised.
        use_prior: Whether log p(h | x) enters the weights.
        use_guide_density: Whether log q(h | x, y) is subtracted (true importance weights).
        include_forward: Whether the forward pass's own hidden text is one of the samples.
        hindsight_share: Share of the samples drawn from the guide that is told the answer; the
            rest comes from the prior.
    """

    temperature: float = 1.0
    use_prior: bool = True
    use_guide_density: bool = False
    include_forward: bool = True
    hindsight_share: float = 0.5

    def __post_init__(self) -> None:
        require_positive("trainer.posterior.temperature", self.temperature)
        require(
            0.0 <= self.hindsight_share <= 1.0,
            f"trainer.posterior.hindsight_share={self.hindsight_share} must be from 0 to 1",
        )


@dataclass(slots=True, kw_only=True)
class SelectionConfig:
    """What a candidate prompt is rewarded for.

    Attributes:
        logprob_scale: ``sum`` (nats of the whole text) or ``per_token``.
        normalize_labels: Whether answers with labels are scored among their labels alone.
        trust_factor: Weight of KL(current, candidate) over the labels.
        exploration: Weight of the log-prob of wrong hidden texts; decays linearly to 0.
        memory: Best prompts by dev accuracy that stay candidates and parents.
        tolerance: Validations without improvement before the best network is reloaded; -1 never.
    """

    logprob_scale: str = "per_token"
    normalize_labels: bool = True
    trust_factor: float = 0.0
    exploration: float = 0.0
    memory: int = 2
    tolerance: int = -1

    def __post_init__(self) -> None:
        require_choice("trainer.selection.logprob_scale", self.logprob_scale, ("sum", "per_token"))
        for name in ("trust_factor", "exploration", "memory"):
            value = getattr(self, name)
            require(value >= 0, f"trainer.selection.{name}={value} must not be negative")
        require(self.tolerance >= -1, "trainer.selection.tolerance must be -1 (never) or more")


@dataclass(slots=True, kw_only=True)
class ProposalConfig:
    """How candidate prompts are made.

    Attributes:
        temperature: Sampling temperature of the backward model.
        max_tokens: Upper bound on a proposed instruction, in tokens.
        max_instruction_chars: Longer proposals are refused.
        demonstration_share: Share of the candidates that append worked examples instead of
            rewriting the instruction.
        num_cases: Examples, apart from the ranked batch, that proposals see.
        min_demonstrations: Fewest worked examples of such a candidate.
        max_demonstrations: Most worked examples of a prompt.
    """

    temperature: float = 0.7
    max_tokens: int = 200
    max_instruction_chars: int = 1500
    demonstration_share: float = 0.5
    num_cases: int = 12
    min_demonstrations: int = 4
    max_demonstrations: int = 8

    def __post_init__(self) -> None:
        require(self.temperature >= 0, "trainer.proposal.temperature must not be negative")
        require_positive("trainer.proposal.num_cases", self.num_cases)
        require(
            0.0 <= self.demonstration_share <= 1.0,
            f"trainer.proposal.demonstration_share={self.demonstration_share} must be from 0 to 1",
        )
        require(
            0 <= self.min_demonstrations <= self.max_demonstrations,
            "trainer.proposal.min_demonstrations must lie between 0 and max_demonstrations",
        )


@dataclass(slots=True, kw_only=True)
class TrainerConfig:
    """The training loop.

    Attributes:
        preset: Name in results: ``paper``, ``exact`` or ``fast``.
        num_iterations: Steps.
        batch_size: B, examples a step on which candidates are ranked; proposals see others.
        num_prompts: N, candidate prompts a layer and step, besides the current one and the memory.
        num_hidden: K, hidden samples an example.
        validate_every: Steps between validations; 0 validates the first and last network alone.
    """

    preset: str = "paper"
    num_iterations: int = 20
    batch_size: int = 20
    num_prompts: int = 20
    num_hidden: int = 5
    validate_every: int = 2
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    proposal: ProposalConfig = field(default_factory=ProposalConfig)

    def __post_init__(self) -> None:
        for name in ("num_iterations", "batch_size", "num_prompts", "num_hidden"):
            value = getattr(self, name)
            require(value >= 1, f"trainer.{name}={value} must be at least 1")
        require(
            self.validate_every >= 0,
            f"trainer.validate_every={self.validate_every} must not be negative",
        )


@dataclass(slots=True, kw_only=True)
class PriceConfig:
    """Price in US dollars a million tokens; None where it is not known."""

    prompt_usd_per_million: float | None = None
    completion_usd_per_million: float | None = None

    def __post_init__(self) -> None:
        for name in ("prompt_usd_per_million", "completion_usd_per_million"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"llm.price.{name}={value} must not be negative")


@dataclass(slots=True, kw_only=True)
class LLMConfig:
    """One language model and how it is reached.

    Attributes:
        provider: ``local`` (served by the orchestrator), ``openai_compatible`` or ``simulated``.
        model: Name that the endpoint knows.
        revision: Which weights, where the name alone does not tell.
        base_url: Address with its ``/v1``; None for ``local`` and ``simulated``.
        api: ``chat``, ``completions`` or ``auto`` (chat where there is a choice).
        api_key_env: Environment variable that holds the key.
        timeout_s: Time allowed to one request.
        extra: Sent with every request as it is.
        omit: Request parameters to leave out (temperature, seed, stop).
        price: What tokens cost.
    """

    provider: str = "local"
    model: str = "qwen2.5-coder-0.5b"
    revision: str | None = None
    base_url: str | None = None
    api: str = "auto"
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 600.0
    extra: dict[str, Any] = field(default_factory=dict)
    omit: list[str] = field(default_factory=list)
    price: PriceConfig = field(default_factory=PriceConfig)

    def __post_init__(self) -> None:
        require_choice("llm.provider", self.provider, ("local", "openai_compatible", "simulated"))
        require_choice("llm.api", self.api, ("auto", "completions", "chat"))
        require_positive("llm.timeout_s", self.timeout_s)
        require(
            "@" not in (self.base_url or ""),
            "llm.base_url must not hold a user or password, since settings are written to disk; "
            f"put the key into the environment variable {self.api_key_env} instead",
        )
        for name in self.omit:
            require_choice("llm.omit", name, ("temperature", "seed", "stop"))
        require(
            self.provider != "openai_compatible" or bool(self.base_url),
            "llm.base_url is missing; give the endpoint's address with its /v1, "
            "e.g. llm.base_url=http://localhost:8000/v1",
        )
        require(
            not self.base_url or self.base_url.startswith(("http://", "https://")),
            f"llm.base_url={self.base_url} must begin with http:// or https://, "
            "e.g. llm.base_url=http://localhost:8000/v1",
        )


@dataclass(slots=True, kw_only=True)
class ScoringConfig:
    """Which rung of the scoring ladder is used; ``auto`` takes the best that the probe finds."""

    rung: str = "auto"

    def __post_init__(self) -> None:
        require_choice("scoring.rung", self.rung, ("auto", "score", "echo", "label"))


@dataclass(slots=True, kw_only=True)
class LimitsConfig:
    """What the endpoint allows; None means no limit.

    Attributes:
        requests_per_minute: Requests started in any minute.
        tokens_per_minute: Prompt and completion tokens in any minute.
        max_concurrency: Requests in flight.
        max_attempts: Tries of one request before it fails for good.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int | None = 128
    max_attempts: int = 8

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "max_concurrency"):
            require_positive(f"limits.{name}", getattr(self, name))
        require(self.max_attempts >= 1, f"limits.max_attempts={self.max_attempts} must be >= 1")


@dataclass(slots=True, kw_only=True)
class CacheConfig:
    """Whether answers are shared across sweeps, and where they are stored.

    Attributes:
        mode: ``on`` reads and writes the shared store, ``read_only`` only reads it, ``refresh``
            only writes it, ``off`` does neither.  A sweep's own store is always on.
        dir: Folder of the stores; None means the user's cache folder.
    """

    mode: str = "on"
    dir: str | None = None

    def __post_init__(self) -> None:
        require_choice("cache.mode", self.mode, ("on", "read_only", "off", "refresh"))


@dataclass(slots=True, kw_only=True)
class TrialSettings:
    """Everything that the result of one trial depends on."""

    task: TaskConfig = field(default_factory=TaskConfig)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    llm: LLMConfig = field(default_factory=LLMConfig)
    backward_llm: LLMConfig | None = None
    scoring: ScoringConfig = field(default_factory=ScoringConfig)
    seed: int = 13

    def __post_init__(self) -> None:
        require(self.seed >= 0, f"seed={self.seed} must not be negative")
        require(self.seed < 2**63, f"seed={self.seed} is too large; it must be below 2**63")
