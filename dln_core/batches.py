"""Which training examples a step uses, and for what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dln_core.config import TrainerConfig
from dln_core.network import Network
from dln_core.randomness import Choice, generator
from dln_core.reading import shows
from dln_core.state import TrainerState
from dln_core.types import Demonstration, Example


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of one step.

    Attributes:
        ranked: Candidates are ranked on these.
        cases: Proposals see what the network makes of these.
        rest: All other training examples.
    """

    ranked: tuple[Example, ...]
    cases: tuple[Example, ...]
    rest: tuple[Example, ...]


def draw_batch(
    state: TrainerState, train: Sequence[Example], config: TrainerConfig, seed: int
) -> Batch:
    """Draw the examples of the step after a state, without replacement.

    Examples that the current or a remembered prompt shows do not rank, since those prompts are
    candidates too; where all are shown, all may be drawn.
    """
    rng = generator(seed, state.step + 1, Choice.batch)
    order = [train[i] for i in rng.permutation(len(train))]
    shown = _demonstrations([state.network, *(entry.network for entry in state.memory)])
    fields = [state.network.input_field(example) for example in order]
    fresh = [
        example
        for example, field in zip(order, fields, strict=True)
        if not any(shows(demonstration, field) for demonstration in shown)
    ]
    # At least one example is left for proposals to learn from.
    ranked = (fresh or order)[: min(config.batch_size, len(order) - 1)]
    ids = {example.id for example in ranked}
    others = [example for example in order if example.id not in ids]
    num_cases = config.proposal.num_cases
    return Batch(tuple(ranked), tuple(others[:num_cases]), tuple(others[num_cases:]))


def _demonstrations(networks: Iterable[Network]) -> set[Demonstration]:
    return {
        demonstration
        for network in networks
        for prompt in network.prompts()
        for demonstration in prompt.demonstrations
    }
