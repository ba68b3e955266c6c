"""Log-probs of answers and hidden texts under a layer, on the scale that training uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.config import SelectionConfig
from dln_core.layers import LanguageLayer
from dln_core.llm.base import Choice, LanguageModel, ScoreRequest
from dln_core.types import Example, Message, Role
from dln_core.vi.weights import Array
from dln_core.voting import label_log_probs


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probs (nats) of T texts after one body.

    Attributes:
        logprob: Summed over the text, shape T.
        objective: On the scale of the training objective, shape T.
        label_logprobs: Of all labels, normalised over them, if the texts are answers with labels.
    """

    logprob: Array
    objective: Array
    label_logprobs: Array | None = None


class Scorer:
    """Scores texts by a model; counts its calls as ``score`` unless told otherwise.

    Args:
        model: The forward model.
        selection: Scale of the log-probs.
    """

    def __init__(self, model: LanguageModel, selection: SelectionConfig) -> None:
        self._model = model
        self._per_token = selection.logprob_scale == "per_token"
        self._normalize_labels = selection.normalize_labels

    async def texts(
        self, layer: LanguageLayer, body: str, targets: Sequence[str], role: Role = Role.score
    ) -> Scores:
        """Score free texts after a layer's body, in one request for all of them."""
        return await self.score(layer.messages(body), targets, role)

    async def score(
        self, messages: Sequence[Message], targets: Sequence[str], role: Role
    ) -> Scores:
        """Score free texts after any conversation."""
        request = ScoreRequest(messages=tuple(messages), targets=tuple(targets), role=role)
        return Scores(*self._measure((await self._model.send(request)).choices))

    async def answer(
        self, layer: LanguageLayer, body: str, example: Example, role: Role = Role.score
    ) -> Scores:
        """Score the right answer of an example (T = 1).

        With labels, all of them are scored, and the answer's probability is that among the labels,
        which is how the network predicts, unless ``normalize_labels`` is off.
        """
        if not example.labels:
            return await self.texts(layer, body, [example.target], role)
        response = await self._model.send(layer.scoring(body, example.labels, role=role))
        labels = label_log_probs(response.choices)
        index = example.labels.index(example.target)
        if self._normalize_labels:
            right = labels[index : index + 1]
            return Scores(right, right, labels)
        logprob, objective = self._measure(response.choices[index : index + 1])
        return Scores(logprob, objective, labels)

    def _measure(self, choices: Sequence[Choice]) -> tuple[Array, Array]:
        logprob = np.array([choice.logprob for choice in choices])
        if not self._per_token:
            return logprob, logprob
        return logprob, np.array([choice.mean_logprob for choice in choices])
