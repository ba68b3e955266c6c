"""The label prior of a prompt, estimated on inputs whose answers stay unread, and divided out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from dln_core.concurrency import map_surviving, parted
from dln_core.errors import RequestError
from dln_core.llm.base import LanguageModel
from dln_core.network import Network
from dln_core.reading import shows
from dln_core.types import Example, Role
from dln_core.vi.calibration import label_prior
from dln_core.vi.weights import Array

MAX_INPUTS = 64


def label_bias(rows: Sequence[tuple[Sequence[str], Array]]) -> dict[str, float]:
    """Log of how much more probable than by chance each label is, on average over inputs.

    Inputs that offer the same labels are averaged first, shrunk towards no preference by one
    input; a label that stands in several such groups is averaged over them by their size.

    Args:
        rows: The labels that an input offers, and their log-probs (nats).
    """
    groups: dict[tuple[str, ...], list[Array]] = {}
    for labels, log_probs in rows:
        groups.setdefault(tuple(labels), []).append(log_probs)
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for labels, members in groups.items():
        lift = label_prior(np.array(members)) + np.log(len(labels) * len(members))
        for label, value in zip(labels, lift, strict=True):
            totals[label] = float(np.logaddexp(totals.get(label, -np.inf), value))
            counts[label] = counts.get(label, 0) + len(members)
    return {label: totals[label] - math.log(counts[label]) for label in sorted(totals)}


def bias_of(labels: Sequence[str], bias: Mapping[str, float]) -> Array:
    """The bias of each of an input's labels, 0 where none is known."""
    return np.array([bias.get(label, 0.0) for label in labels])


async def calibrated(
    network: Network,
    model: LanguageModel,
    inputs: Sequence[Example],
    role: Role,
) -> tuple[Network, list[RequestError]]:
    """Return the network with its label prior divided out of what it predicts.

    Inputs that the endpoint refuses are left out; the refusals are returned too.

    Args:
        network: A network that answers with labels; any other is returned as it is.
        model: The language model of its layers.
        inputs: Training examples, of which at most ``MAX_INPUTS`` are run, none that a prompt shows
            with its answer if there are others.
        role: What the calls are counted as.

    Raises:
        RequestError: The first refusal, if no input is left.
        LLMError: If a request failed for any other reason.
    """
    bare = replace(network, label_bias={})

    async def one(example: Example) -> tuple[Sequence[str], Array | None]:
        trace = await bare.run(model, example, role=role)
        return example.labels, trace.answer.label_logprobs

    shown = [d for prompt in network.prompts() for d in prompt.demonstrations]
    fresh = [e for e in inputs if not any(shows(d, network.input_field(e)) for d in shown)]
    run = [example for example in (fresh or inputs)[:MAX_INPUTS] if example.labels]
    known, refusals = parted(await map_surviving(one, run))
    if refusals and not known:
        raise refusals[0]
    rows = [(labels, log_probs) for labels, log_probs in known if log_probs is not None]
    return replace(bare, label_bias=label_bias(rows)) if rows else bare, refusals
