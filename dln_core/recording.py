"""What is recorded of a step; nothing depends on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dln_core.failures import Failures, counts, merged, reasons
from dln_core.graph import Slot
from dln_core.inference import Inference
from dln_core.proposals.evidence import Candidate, Proposed
from dln_core.ranking import Ranking
from dln_core.types import Prompt
from dln_core.vi.weights import Array


@dataclass(frozen=True, slots=True)
class Update:
    """What a step did to one prompt."""

    slot: Slot
    candidates: tuple[Candidate, ...]
    proposed: Proposed
    ranking: Ranking

    @property
    def prompt(self) -> Prompt:
        """The prompt that was selected."""
        return self.candidates[self.ranking.selected].prompt


@dataclass(frozen=True, slots=True)
class StepInfo:
    """Metrics by name, every candidate with what it was worth, and why something was lost.

    ``failures`` holds the first reason under the name of the metric that counts what was lost,
    ``samples`` what the network wrote on a few dev items if it was validated.
    """

    metrics: dict[str, float]
    candidates: list[dict[str, Any]]
    failures: dict[str, str] = field(default_factory=dict)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, failures: Failures) -> None:
        """Count what was lost, and keep the first reason under each name."""
        self.metrics.update(counts(failures))
        self.failures.update(reasons(failures))


def record(updates: Sequence[Update], inference: Inference) -> StepInfo:
    """Describe a step: its bound, its objective, its hidden samples and its candidates.

    Raises:
        RequestError: The first refusal, if none of the prompts could be ranked on any example
            because of such: then not an example or a candidate is at fault.
    """
    failures = merged(
        inference.failures,
        {
            "train/failed_proposals": [f for u in updates for f in u.proposed.failures],
            "train/failed_scorings": [f for u in updates for f in u.ranking.failures],
        },
    )
    _require_ranked(updates, inference, failures)
    ranked = inference.are_correct[: inference.num_ranked]
    metrics = {
        "train/accuracy": sum(ranked) / len(ranked),
        "train/objective": sum(_chosen(u, u.ranking.objective) for u in updates),
        "train/spared_scorings": float(sum(u.ranking.num_spared for u in updates)),
        "train/refused_proposals": float(sum(sum(u.proposed.refused.values()) for u in updates)),
        "train/shrunk_proposals": float(sum(u.proposed.num_shrunk for u in updates)),
    }
    for index in range(len(inference.network.layers)):
        metrics |= _of_layer(index, updates, inference)
    expected = sum(_chosen(update, update.ranking.logprob) for update in updates)
    # Without log-probs there is no bound.
    if not math.isnan(expected):
        metrics["train/elbo"] = expected + inference.joint_entropy()
        bound = inference.importance_weighted_bound()
        if bound is not None:
            metrics["train/importance_weighted_bound"] = bound
    # Where no example was left to rank on, nothing was measured.
    known = {name: value for name, value in metrics.items() if not math.isnan(value)}
    info = StepInfo(known, _candidate_records(updates, inference))
    info.add(failures)
    return info


def _require_ranked(updates: Sequence[Update], inference: Inference, failures: Failures) -> None:
    if any(update.ranking.num_examples for update in updates):
        return
    lost = (
        failures["train/failed"] if inference.num_ranked == 0 else failures["train/failed_scorings"]
    )
    if lost:
        raise lost[0]


def _of_layer(index: int, updates: Sequence[Update], inference: Inference) -> dict[str, float]:
    """Metrics of one layer, added up over its prompts or averaged over its nodes."""
    own = [update for update in updates if update.slot.layer == index]
    if not own:
        return {}
    nodes = [
        node for node in inference.samples if inference.network.graph.nodes[node].layer == index
    ]
    expected = sum(_chosen(update, update.ranking.logprob) for update in own)
    entropy = sum(inference.entropy_of(node) for node in nodes)
    metrics = {
        "objective": sum(_chosen(update, update.ranking.objective) for update in own),
        "trust_region_kl": sum(_chosen(update, update.ranking.trust_region_kl) for update in own),
        "accepted": float(np.mean([update.ranking.selected > 0 for update in own])),
        "instruction_chars": float(np.mean([len(u.prompt.instruction) for u in own])),
        "demonstrations": float(np.mean([len(u.prompt.demonstrations) for u in own])),
    }
    if not math.isnan(expected):
        metrics |= {"expected_log_likelihood": expected, "elbo": expected + entropy}
    if nodes:
        metrics |= {
            "entropy": entropy,
            "effective_sample_size": float(
                np.mean([inference.effective_sample_size_of(node) for node in nodes])
            ),
            "distinct_hidden": float(np.mean([inference.num_distinct_of(node) for node in nodes])),
        }
    return {f"train/{name}_layer{index + 1}": value for name, value in metrics.items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _chosen(update: Update, values: Array) -> float:
    return float(values[update.ranking.selected])


def _candidate_records(updates: Sequence[Update], inference: Inference) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for update in updates:
        ranking, layer = update.ranking, inference.network.layers[update.slot.layer]
        for index, candidate in enumerate(update.candidates):
            reward = float(ranking.rewards[index])
            records.append(
                {
                    "layer": layer.name,
                    "prompt": update.slot.prompt,
                    "index": index,
                    "source": candidate.source,
                }
                | candidate.prompt.to_dict()
                | {
                    # A candidate that the endpoint refused has none.
                    "reward": _finite(reward),
                    "objective": _finite(float(ranking.objective[index])),
                    "trust_region_kl": float(ranking.trust_region_kl[index]),
                    "num_examples": int(ranking.num_seen[index]),
                    "selected": index == ranking.selected,
                }
            )
    return records
