"""The training loop, its inference, its objective and its proposals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from dln_core.config.checks import require, require_choice, require_positive


def _require_shares(key: str, shares: dict[str, float]) -> None:
    for name, share in shares.items():
        require(share >= 0, f"{key}.{name}={share} must not be negative")
    require(
        sum(shares.values()) > 0,
        f"{key} gives every kind the share 0; give one of {', '.join(shares)} a share above 0",
    )


@dataclass(slots=True, kw_only=True)
class GuideConfig:
    """Where hidden samples come from: a mixture of three templates, by share of the samples.

    Attributes:
        prior: The layer itself, which knows the input alone.
        hindsight: Told what the next layers have to arrive at.
        edit: Shown the forward pass's hidden text and told what it should have led to.
        temperature: Sampling temperature; the mixture's density is exact at 1.
        include_forward: Whether the forward pass's own hidden text is one of the samples.
    """

    prior: float = 0.5
    hindsight: float = 0.5
    edit: float = 0.0
    temperature: float = 0.7
    include_forward: bool = True

    def __post_init__(self) -> None:
        _require_shares("trainer.guide", self.shares())
        require(
            self.temperature > 0,
            f"trainer.guide.temperature={self.temperature} must be above 0, or all samples of an "
            "example would be equal",
        )

    def shares(self) -> dict[str, float]:
        """The share of each part of the mixture, not normalised."""
        return {"hindsight": self.hindsight, "prior": self.prior, "edit": self.edit}


@dataclass(slots=True, kw_only=True)
class PosteriorConfig:
    """How hidden samples are weighted (posterior sharpening).

    Attributes:
        temperature: Divides the log-weights before they are normalised.
        use_prior: Whether log p(h | x) enters the weights.
        use_guide_density: Whether log q(h | x, y) is subtracted (true importance weights).
        mutual_information: Weight of log p(y | h without x), which is subtracted: a hidden text
            that gives the answer away without the input weighs less.
        hard: Whether the best sample gets all the weight.
    """

    temperature: float = 1.0
    use_prior: bool = True
    use_guide_density: bool = False
    mutual_information: float = 0.0
    hard: bool = False

    def __post_init__(self) -> None:
        require_positive("trainer.posterior.temperature", self.temperature)
        require(
            self.mutual_information >= 0,
            f"trainer.posterior.mutual_information={self.mutual_information} must not be negative",
        )


@dataclass(slots=True, kw_only=True)
class SelectionConfig:
    """What a candidate prompt is rewarded for.

    Attributes:
        logprob_scale: ``sum`` (nats of the whole text) or ``per_token``.
        normalize_labels: Whether answers with labels are scored among their labels alone.
        contrastive: Whether a hidden text is scored among its example's samples alone (NCE).
        evidence: Whether candidates are ranked by the log evidence as the guide's weights estimate
            it, instead of by its bound.
        trust_factor: Weight of KL(current, candidate) over the labels.
        exploration: Weight of the log-prob of wrong hidden texts; decays linearly to 0.
        length_penalty: Nats that a token of the prompt costs, at four characters a token.
        memory: Best prompts by dev accuracy that stay candidates and parents.
        tolerance: Validations without improvement before the best network is reloaded; -1 never.
    """

    logprob_scale: str = "per_token"
    normalize_labels: bool = True
    contrastive: bool = False
    evidence: bool = False
    trust_factor: float = 0.0
    exploration: float = 0.0
    length_penalty: float = 0.0
    memory: int = 2
    tolerance: int = -1

    def __post_init__(self) -> None:
        require_choice("trainer.selection.logprob_scale", self.logprob_scale, ("sum", "per_token"))
        require(
            not self.evidence or self.logprob_scale == "sum",
            "trainer.selection.evidence needs log-probs of whole texts; set "
            "trainer.selection.logprob_scale=sum",
        )
        for name in ("trust_factor", "exploration", "length_penalty", "memory"):
            value = getattr(self, name)
            require(value >= 0, f"trainer.selection.{name}={value} must not be negative")
        require(self.tolerance >= -1, "trainer.selection.tolerance must be -1 (never) or more")


@dataclass(slots=True, kw_only=True)
class RacingConfig:
    """When a candidate that is clearly behind stops being scored.

    Attributes:
        first_examples: Examples that all candidates are scored on before any is dropped; null
            scores every candidate on the whole batch.
        confidence: Confidence of each paired one-sided test against the leader.
    """

    first_examples: int | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        require(
            self.first_examples is None or self.first_examples >= 2,
            f"trainer.racing.first_examples={self.first_examples} must be at least 2, or null for "
            "no racing: a paired test needs two differences",
        )
        require(
            0.5 <= self.confidence < 1.0,
            f"trainer.racing.confidence={self.confidence} must be from 0.5 to below 1",
        )


@dataclass(slots=True, kw_only=True)
class ProposalMix:
    """Share of each kind among the candidates of a step; the sum need not be 1.

    Attributes:
        rewrite: An instruction rewritten in view of what went right and wrong.
        induce: An instruction written from right cases alone, without any parent (APE).
        rules: An instruction with a rule for each label added.
        recombine: Instruction and worked examples of two remembered prompts.
        examples: Worked examples drawn anew, added, swapped, dropped, or taken from the errors.
    """

    rewrite: float = 0.5
    induce: float = 0.0
    rules: float = 0.0
    recombine: float = 0.0
    examples: float = 0.5

    def __post_init__(self) -> None:
        _require_shares("trainer.proposal.mix", asdict(self))


@dataclass(slots=True, kw_only=True)
class ProposalConfig:
    """How candidate prompts are made.

    Attributes:
        temperature: Sampling temperature of the backward model.
        max_tokens: Upper bound on a proposed instruction, in tokens.
        max_instruction_chars: Longer proposals are refused.
        num_cases: Examples, apart from the ranked batch, that proposals see.
        min_demonstrations: Fewest worked examples of a candidate that is given new ones.
        max_demonstrations: Most worked examples of a prompt.
        mix: Share of each kind of proposal.
    """

    temperature: float = 0.7
    max_tokens: int = 200
    max_instruction_chars: int = 1500
    num_cases: int = 12
    min_demonstrations: int = 4
    max_demonstrations: int = 8
    mix: ProposalMix = field(default_factory=ProposalMix)

    def __post_init__(self) -> None:
        require(self.temperature >= 0, "trainer.proposal.temperature must not be negative")
        require_positive("trainer.proposal.num_cases", self.num_cases)
        require(
            0 <= self.min_demonstrations <= self.max_demonstrations,
            "trainer.proposal.min_demonstrations must lie between 0 and max_demonstrations",
        )


@dataclass(slots=True, kw_only=True)
class PhaseConfig:
    """A stretch of training in which only some layers change.

    Attributes:
        layers: Names of the layers that are trained.
        num_iterations: Steps of the phase.
    """

    layers: list[str] = field(default_factory=list)
    num_iterations: int = 1

    def __post_init__(self) -> None:
        require(bool(self.layers), "a phase of trainer.phases names no layer; name at least one")
        require(
            self.num_iterations >= 1,
            f"num_iterations={self.num_iterations} of a phase must be at least 1",
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
        patience: Validations without improvement after which training ends; null never.
        phases: Which layers are trained when; empty trains all at once.  After the last phase all
            are trained again.
    """

    preset: str = "paper"
    num_iterations: int = 20
    batch_size: int = 20
    num_prompts: int = 20
    num_hidden: int = 5
    validate_every: int = 2
    patience: int | None = None
    phases: list[PhaseConfig] = field(default_factory=list)
    guide: GuideConfig = field(default_factory=GuideConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    racing: RacingConfig = field(default_factory=RacingConfig)
    proposal: ProposalConfig = field(default_factory=ProposalConfig)

    def __post_init__(self) -> None:
        for name in ("num_iterations", "batch_size", "num_prompts", "num_hidden"):
            value = getattr(self, name)
            require(value >= 1, f"trainer.{name}={value} must be at least 1")
        require(
            self.validate_every >= 0,
            f"trainer.validate_every={self.validate_every} must not be negative",
        )
        require_positive("trainer.patience", self.patience)
        require(
            self.patience is None or not self.phases,
            "trainer.patience could end training before the last of trainer.phases; set "
            "trainer.patience=null",
        )
        total = sum(phase.num_iterations for phase in self.phases)
        require(
            total <= self.num_iterations,
            f"trainer.phases have {total} iterations, but trainer.num_iterations is "
            f"{self.num_iterations}; raise it, or shorten a phase",
        )

    def phase(self, step: int) -> list[str] | None:
        """Names of the layers that a step (from 1) trains; None means all."""
        last = 0
        for phase in self.phases:
            last += phase.num_iterations
            if step <= last:
                return phase.layers
        return None
