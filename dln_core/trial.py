"""A trial: one network trained and tested on one task with one seed.

A trial advances in units of work (the first validation, each step, the test).  Between two units
all there is to know is in the state, so that any process can go on from it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import anyio.to_thread

from dln_core.building import initial_network
from dln_core.checks import check_settings, effective_rung
from dln_core.config import CacheConfig, LimitsConfig, TrialSettings
from dln_core.errors import BudgetError
from dln_core.evaluation import evaluate, failed, on_metric, tested
from dln_core.export import network_document
from dln_core.export.checking import read_back
from dln_core.failures import Failures, counts, merged, reasons
from dln_core.judging import judged_by, open_judge
from dln_core.llm.allowance import Allowance
from dln_core.llm.base import LanguageModel
from dln_core.llm.call_log import CallLog
from dln_core.llm.connect import Connection, Stores, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.llm.limits import LimiterSource
from dln_core.llm.local_limiter import LocalLimiters
from dln_core.llm.opening import model_name, open_model
from dln_core.llm.remote_store import AnswerSource
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
        source: That store on the driver's machine, for nodes of a cluster; None on one machine.
        limiters: Where the limiters of endpoints come from: every process its own, or one for all.
        call_log: Takes down what is sent; None takes down nothing.
    """

    limits: LimitsConfig = field(default_factory=LimitsConfig)
    backward_limits: LimitsConfig | None = None
    cache: CacheConfig = field(default_factory=CacheConfig)
    store: str = "default"
    source: AnswerSource | None = None
    limiters: LimiterSource = field(default_factory=LocalLimiters)
    call_log: CallLog | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """One unit of work.

    Attributes:
        state: JSON values; hand it back to go on.  None if the start was given up.
        event: JSON values; what is recorded.
        done: Whether this was the test, the last unit.
    """

    state: dict[str, Any] | None
    event: dict[str, Any]
    done: bool


@dataclass(frozen=True, slots=True)
class Connections:
    """What a trial is connected to: its two models, and the stores of their answers."""

    forward: Connection
    backward: Connection
    stores: Stores


class Trial:
    """An open trial; made by ``Trial.open``."""

    def __init__(
        self,
        settings: TrialSettings,
        task: Task,
        connections: Connections,
        guard: Guard,
        ledgers: list[Ledger],
    ) -> None:
        forward, backward = connections.forward, connections.backward
        self._settings = settings
        self._rung = effective_rung(settings, task, forward.route.rung)
        # Without log-probs of labels answers are written, and judged by what they say.
        self._task = task if forward.route.gives_labels else task.without_label_scores()
        self._forward = forward
        self._stores = connections.stores
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
        judge_rung: str = "auto",
        ledgers: Sequence[Ledger] = (),
    ) -> AsyncIterator[Trial]:
        """Load the task and connect to the language models.

        Args:
            settings: What the result depends on.
            services: How calls are carried out.
            task: Stands for the task that the settings name.
            model: Stands for ``settings.llm``.
            backward_model: Stands for ``settings.backward_llm``.
            judge_rung: Rung on which ``settings.judge_llm`` scores verdicts.
            ledgers: Count every answer too; one with an allowance holds back what exceeds it, and
                leaves no room for allowances of units.

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
        open_ledgers = [Ledger(), *ledgers]
        async with AsyncExitStack() as stack:
            stores = await stack.enter_async_context(
                open_stores(services.cache, services.store, services.source)
            )
            common: dict[str, Any] = {
                "limiters": services.limiters,
                "stores": stores,
                "ledgers": open_ledgers,
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
            judge = await stack.enter_async_context(
                open_judge(
                    settings.judge_llm,
                    forward,
                    rung=judge_rung,
                    limits=services.limits,
                    **common,
                )
            )
            backward_llm = settings.backward_llm if backward_model is None else backward_model
            if backward_llm is not None and settings.network.is_trained:
                limits = services.backward_limits or services.limits
                backward = await stack.enter_async_context(
                    open_model(backward_llm, rung=None, limits=limits, **common)
                )
            connections = Connections(forward, backward, stores)
            yield cls(settings, judged_by(task, judge), connections, guard, open_ledgers)

    @property
    def trainer(self) -> Trainer:
        """What trains: its task, models and judge are those of the trial."""
        return self._trainer

    @property
    def rung(self) -> str | None:
        """Rung of the scoring ladder that the trial uses."""
        return self._rung

    async def advance(
        self,
        state: dict[str, Any] | None,
        *,
        stop: str | None = None,
        allowance: Allowance | None = None,
        unit: str | None = None,
    ) -> Advance:
        """Do the next unit of work.

        Args:
            state: What the previous unit returned; None to begin.
            stop: Why to leave the steps that are left and do the test now; None to go on.
            allowance: What the unit may use.  One that would need more is given up: its event is of
                the kind ``abandoned`` and tells what it used and which ``work`` it was (``start``,
                ``step`` or ``finish``), and the state is unchanged.
            unit: Names this unit of work at every attempt; what an attempt paid that was lost is
                counted by the next one.
        """
        started, ledger = time.monotonic(), Ledger(allowance=allowance)
        before = None if state is None else TrainerState.from_dict(state)
        after, work = before, self._next_work(before, stop)
        event: dict[str, Any] = {"kind": "abandoned", "work": work}
        self._ledgers.append(ledger)
        try:
            with self._stores.payer.paying(unit):
                after, event = await self._advance(before, stop)
        except* BudgetError:
            pass  # the event says so
        finally:
            self._ledgers.remove(ledger)
        # What is recorded must not be ahead of the answers that it was computed from.
        await self._stores.flush()
        event |= {
            "usage": ledger.usage(),
            "cost_usd": ledger.cost_usd,
            "seconds": time.monotonic() - started,
        }
        return Advance(None if after is None else after.to_dict(), event, event["kind"] == "finish")

    def _next_work(self, state: TrainerState | None, stop: str | None) -> str:
        """Return the kind of the event that the next unit of work leads to."""
        if state is None:
            return "start"
        return "step" if stop is None and not self._is_trained_out(state) else "finish"

    async def _advance(
        self, state: TrainerState | None, stop: str | None
    ) -> tuple[TrainerState, dict[str, Any]]:
        if state is None:
            after, event = await self._start()
        elif self._is_trained_out(state):
            after, event = await self._test(state, {}, None)
        elif stop is not None:
            concluded, failures = await self._trainer.conclude(state)
            after, event = await self._test(concluded, failures, stop)
        else:
            after, event = await self._step(state)
        best = {"dev_accuracy": after.best.dev_accuracy, "step": after.best_step}
        event |= {"step": after.step, "best": best}
        event.setdefault("network", self._document(after.network))
        # Whoever has more to spend goes on from where training was, not from the tested network.
        return (state if state and event["kind"] == "finish" else after), event

    async def validate(self, network: Network) -> float:
        """Measure a network as it is on dev, by the task's metric; the trial does not advance."""
        model, task = self._forward.model, self._task
        predictions = await evaluate(network, model, task, task.splits.dev, role=Role.dev)
        return on_metric(predictions, task.metric)

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
        if self._task.grader is not None:
            route |= self._task.grader.facts()
        event = {"kind": "start", "metrics": metrics | counts(failures), "candidates": []}
        return state, event | _said(reasons(failures), state.best.samples) | route

    async def _step(self, state: TrainerState) -> tuple[TrainerState, dict[str, Any]]:
        after, info = await self._trainer.step(state, self._trainer.draw_batch(state))
        event = {"kind": "step", "metrics": info.metrics, "candidates": info.candidates}
        return after, event | _said(info.failures, info.samples)

    async def _test(
        self, state: TrainerState, lost: Failures, stopped: str | None
    ) -> tuple[TrainerState, dict[str, Any]]:
        """Look at the test split, once, with the network that is best on dev.

        It is tested as it is read back from its export, so that the figure is that of the file.
        """
        model, dev = self._settings.llm.model, self._task.splits.dev
        network = await anyio.to_thread.run_sync(read_back, state.best.network, model, dev)
        predictions = await evaluate(
            network,
            self._forward.model,
            self._task,
            self._task.splits.test,
            role=Role.test,
        )
        # Resampling takes up to seconds.
        test = await anyio.to_thread.run_sync(tested, predictions, self._task.metric)
        failures = merged(lost, {"test/failed": failed(predictions)})
        best = self._document(network)
        return state, {
            "kind": "finish",
            "metrics": {"test/accuracy": test["accuracy"]} | counts(failures),
            "candidates": [],
            "network": best,
            "best_network": best,
            "stopped": stopped,
            "predictions": [prediction.to_dict() for prediction in predictions],
            "test": test,
        } | _said(reasons(failures))

    def _is_trained_out(self, state: TrainerState) -> bool:
        trains = any(layer.trained for layer in state.network.layers)
        return not trains or self._trainer.is_trained_out(state)

    def _document(self, network: Network) -> dict[str, Any]:
        return network_document(network, self._settings.llm.model)


def _said(reasons: dict[str, str], samples: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Why something was lost and what was written on a few dev items; most events have neither."""
    parts: dict[str, Any] = {"failures": reasons, "samples": list(samples)}
    return {name: part for name, part in parts.items() if part}
