"""Judging answers by a language model (``task.judge=llm``).

The judge is shown the question, the right answer and the answer to be judged, and says Yes or No.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from dln_core.config import LimitsConfig, LLMConfig
from dln_core.errors import RequestError
from dln_core.llm.base import GenerateRequest, LanguageModel, ScoreRequest
from dln_core.llm.call_log import CallLog
from dln_core.llm.capabilities import Route
from dln_core.llm.connect import Connection, Stores, connect
from dln_core.llm.ledger import Ledger
from dln_core.llm.limits import LimiterSource
from dln_core.tasks.judges.labels import read_label
from dln_core.tasks.task import Task
from dln_core.templates import JUDGE, load_template
from dln_core.types import Prompt, Role
from dln_core.voting import label_log_probs

VERDICTS = ("Yes", "No")
# Room for a word and what some models put around it.
MAX_TOKENS = 16


@dataclass(frozen=True, slots=True)
class LanguageJudge:
    """Asks a language model whether an answer is right.

    Attributes:
        model: The model that is asked.
        route: How it is asked.  Where it gives no log-probs of labels, it writes its verdict,
            greedily.
    """

    model: LanguageModel
    route: Route

    async def score(self, question: str, target: str, prediction: str) -> float:
        """Return the probability of Yes, or 1 or 0 where the verdict is written.

        A text that commits to neither is a No.

        Args:
            question: The example's input.
            target: The right answer.
            prediction: What is judged.

        Raises:
            RequestError: If the endpoint refuses the request, or nothing is written.
            LLMError: If it failed for any other reason.
        """
        messages = load_template(JUDGE).messages(
            Prompt(""), body=question, target=target, prediction=prediction
        )
        if self.route.gives_labels:
            asked = ScoreRequest(messages=messages, targets=VERDICTS, role=Role.judge)
            log_probs = label_log_probs((await self.model.send(asked)).choices)
            return min(1.0, math.exp(log_probs[0]))
        request = GenerateRequest(messages=messages, max_tokens=MAX_TOKENS, role=Role.judge)
        written = (await self.model.send(request)).choices[0].text
        if not written.strip():
            raise RequestError(
                f"the model that judges wrote nothing in {MAX_TOKENS} tokens; if it thinks first, "
                "give it room: judge_llm.omit=[max_tokens] and the endpoint's own bound as "
                "judge_llm.extra"
            )
        return float(read_label(written, VERDICTS) == VERDICTS[0].lower())

    def facts(self) -> dict[str, Any]:
        """Return how it comes to its scores, as plain JSON values."""
        return {"judge_rung": self.route.rung, "judge_api": self.route.api}


@asynccontextmanager
async def open_judge(
    llm: LLMConfig | None,
    forward: Connection,
    *,
    rung: str = "auto",
    limits: LimitsConfig,
    limiters: LimiterSource,
    stores: Stores,
    ledgers: list[Ledger],
    call_log: CallLog | None = None,
) -> AsyncIterator[Connection]:
    """Open the model that judges.

    Args:
        llm: The judge's model; None for that of the layers.
        forward: The connection to the model of the layers, which is yielded as it is.
        rung: How the judge's own model scores verdicts, as ``scoring.rung``.
        limits: What the judge's endpoint allows.
        limiters: Where the limiter of its endpoint comes from.
        stores: Where answers are looked for and kept.
        ledgers: Where calls are counted.
        call_log: Takes down what is sent.

    Raises:
        LLMError: If the judge's endpoint cannot be reached, or has not that rung.
    """
    if llm is None:
        yield forward
        return
    async with connect(
        llm,
        rung=rung,
        limits=limits,
        limiters=limiters,
        stores=stores,
        ledgers=ledgers,
        call_log=call_log,
    ) as connection:
        yield connection


def judged_by(task: Task, connection: Connection) -> Task:
    """Give a task that is judged by a model this one; any other is returned as it is."""
    if not task.asks_model:
        return task
    return replace(task, grader=LanguageJudge(connection.model, connection.route))
