"""A trial: one network trained and tested on one task with one seed.

A trial advances in units of work (the first validation, each step, the test).  Between two units
all there is to know is in the state, so that any process can go on from it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import anyio.to_thread

from dln_core.building import initial_network
from dln_core.checks import check_settings, effective_rung
from dln_core.config import CacheConfig, LimitsConfig, TrialSettings
from dln_core.evaluation import evaluate, failed, tested
from dln_core.export import network_document
from dln_core.failures import counts, reasons
from dln_core.judging import open_judge
from dln_core.llm.base import LanguageModel
from dln_core.llm.call_log import CallLog
from dln_core.llm.connect import Connection, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.llm.opening import model_name, open_model
from dln_core.network import Network
from dln_core.proposals.guard import Guard
from dln_core.state import TrainerState
from dln_core.tasks import load_task
from dln_core.tasks.task import Task
from dln_core.trainer import Trainer
from dln_core.types import Role


@dataclass(slots=True, kw_only=True)
class Services:
    """How calls are carried out; results do not depend on it.

    Attributes:
        limits: What the forward endpoint allows.
        backward_limits: What the backward endpoint allows; None for the same.
        cache: Sharing of answers across sweeps.
        store: Name of the sweep's own store of answers.
        share: Number of processes among which the limits are divided.
        call_log: Takes down what is sent; None takes down nothing.
    """

    limits: LimitsConfig = field(default_factory=LimitsConfig)
    backward_limits: LimitsConfig | None = None
    cache: CacheConfig = field(default_factory=CacheConfig)
    store: str = "default"
    share: int = 1
    call_log: CallLog | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """One unit of work.

    Attributes:
        state: JSON values; hand it back to go on.
        event: JSON values; what is recorded.
        done: Whether this was the test, the last unit.
    """

    state: dict[str, Any]
    event: dict[str, Any]
    done: bool


class Trial:
    """An open trial; made by ``Trial.open``."""

    def __init__(
        self,
        settings: TrialSettings,
        task: Task,
        forward: Connection,
        backward: Connection,
        guard: Guard,
        ledgers: list[Ledger],
    ) -> None:
        self._settings = settings
        self._rung = effective_rung(settings, task, forward.route.rung)
        # Without log-probs of labels answers are written, and judged by what they say.
        self._task = task if forward.route.gives_labels else task.without_label_scores()
        self._forward = forward
        self._ledgers = ledgers
        self._trainer = Trainer(
            task=self._task,
            config=settings.trainer,
            forward_model=forward.model,
            backward_model=backward.model,
            guard=guard,
            seed=settings.seed,
            scoring=settings.scoring,
            has_logprobs=self._rung != "monte_carlo",
            calibrates=settings.calibration == "empirical",
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: TrialSettings,
        services: Services,
        *,
        task: Task | None = None,
        model: LanguageModel | None = None,
        backward_model: LanguageModel | None = None,
    ) -> AsyncIterator[Trial]:
        """Load the task and connect to the language models.

        Args:
            settings: What the result depends on.
            services: How calls are carried out.
            task: Stands for the task that the settings name.
            model: Stands for ``settings.llm``.
            backward_model: Stands for ``settings.backward_llm``.

        Raises:
            DataError: If the task's data is missing.
            LLMError: If an endpoint cannot be reached or cannot score texts.
        """
        if task is None:
            task = await anyio.to_thread.run_sync(load_task, settings.task, settings.data)
        if model is not None:
            # Exports and messages name the model that is used.
            settings = replace(settings, llm=replace(settings.llm, model=model_name(model)))
        check_settings(settings, task)
        # It reads all of the data: seconds for a large task.
        guard = await anyio.to_thread.run_sync(Guard.of, task.splits)
        await anyio.to_thread.run_sync(initial_network(settings, task).prepare)
        ledgers = [Ledger()]
        async with AsyncExitStack() as stack:
            stores = await stack.enter_async_context(open_stores(services.cache, services.store))
            common: dict[str, Any] = {
                "share": services.share,
                "stores": stores,
                "ledgers": ledgers,
                "call_log": services.call_log,
            }
            forward = backward = await stack.enter_async_context(
                open_model(
                    settings.llm if model is None else model,
                    rung=settings.scoring.rung,
                    limits=services.limits,
                    **common,
                )
            )
            task = await stack.enter_async_context(
                open_judge(task, settings.judge_llm, forward, limits=services.limits, **common)
            )
            backward_llm = settings.backward_llm if backward_model is None else backward_model
            if backward_llm is not None and settings.network.is_trained:
                limits = services.backward_limits or services.limits
                backward = await stack.enter_async_context(
                    open_model(backward_llm, rung=None, limits=limits, **common)
                )
            yield cls(settings, task, forward, backward, guard, ledgers)

    @property
    def rung(self) -> str | None:
        """Rung of the scoring ladder that the trial uses."""
        return self._rung

    async def advance(self, state: dict[str, Any] | None, *, finish: bool = False) -> Advance:
        """Do the next unit of work.

        Args:
            state: What the previous unit returned; None to begin.
            finish: Skip the steps that are left and do the test now.
        """
        started, ledger = time.monotonic(), Ledger()
        self._ledgers.append(ledger)
        try:
            if state is None:
                after, event = await self._start()
            else:
                before = TrainerState.from_dict(state)
                is_last = finish or self._is_trained_out(before)
                after, event = await (self._test(before) if is_last else self._step(before))
        finally:
            self._ledgers.remove(ledger)
        event |= {
            "step": after.step,
            "best": {"dev_accuracy": after.best.dev_accuracy, "step": after.best_step},
            "usage": ledger.usage(),
            "cost_usd": ledger.cost_usd,
            "seconds": time.monotonic() - started,
        }
        event.setdefault("network", self._document(after.network))
        done = event["kind"] == "finish"
        if done:
            event["stopped"] = None if self._is_trained_out(after) else "budget"
        return Advance(after.to_dict(), event, done)

    @property
    def usage(self) -> dict[str, dict[str, int]]:
        """Calls and tokens by role since the trial was opened."""
        return self._ledgers[0].usage()

    def progress(self) -> dict[str, Any]:
        """Live counters since the trial was opened."""
        totals = self._ledgers[0].totals()
        return {
            "calls": totals.calls,
            "paid_calls": totals.paid_calls,
            "tokens": totals.prompt_tokens + totals.completion_tokens,
            "cost_usd": self._ledgers[0].cost_usd,
        }

    async def _start(self) -> tuple[TrainerState, dict[str, Any]]:
        state = await self._trainer.initial_state(initial_network(self._settings, self._task))
        metrics, failures = {"dev/accuracy": state.best.dev_accuracy}, state.best.failures
        # What the endpoint offers may exceed what the trial makes use of.
        route = asdict(self._forward.route)
        route |= {"rung": self._rung, "endpoint_rung": route["rung"]}
        event = {"kind": "start", "metrics": metrics | counts(failures), "candidates": []}
        return state, event | _said(reasons(failures)) | route

    async def _step(self, state: TrainerState) -> tuple[TrainerState, dict[str, Any]]:
        after, info = await self._trainer.step(state, self._trainer.draw_batch(state))
        event = {"kind": "step", "metrics": info.metrics, "candidates": info.candidates}
        return after, event | _said(info.failures)

    async def _test(self, state: TrainerState) -> tuple[TrainerState, dict[str, Any]]:
        """Look at the test split, once, with the network that is best on dev."""
        predictions = await evaluate(
            state.best.network,
            self._forward.model,
            self._task,
            self._task.splits.test,
            role=Role.test,
        )
        # Resampling takes up to seconds.
        test = await anyio.to_thread.run_sync(tested, predictions, self._task.metric)
        failures = {"test/failed": failed(predictions)}
        return replace(state, network=state.best.network), {
            "kind": "finish",
            "metrics": {"test/accuracy": test["accuracy"]} | counts(failures),
            "candidates": [],
            "best_network": self._document(state.best.network),
            "predictions": [prediction.to_dict() for prediction in predictions],
            "test": test,
        } | _said(reasons(failures))

    def _is_trained_out(self, state: TrainerState) -> bool:
        trains = any(layer.trained for layer in state.network.layers)
        return not trains or self._trainer.is_trained_out(state)

    def _document(self, network: Network) -> dict[str, Any]:
        return network_document(network, self._settings.llm.model)


def _said(reasons: dict[str, str]) -> dict[str, Any]:
    """The part of an event that says why something was lost; most events have none."""
    return {"failures": reasons} if reasons else {}
