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

from dln_core.config import CacheConfig, LimitsConfig, TrialSettings, require
from dln_core.errors import ScoringError
from dln_core.evaluation import accuracy, evaluate
from dln_core.export import load_network, network_document
from dln_core.llm.connect import Connection, connect, open_stores
from dln_core.llm.ledger import Ledger
from dln_core.network import Network, build_network
from dln_core.randomness import Choice, generator
from dln_core.state import TrainerState
from dln_core.stats import wilson_interval
from dln_core.tasks import load_task
from dln_core.tasks.task import Task
from dln_core.trainer import Trainer
from dln_core.types import Example, Role


@dataclass(slots=True, kw_only=True)
class Services:
    """How calls are carried out; results do not depend on it.

    Attributes:
        limits: What the forward endpoint allows.
        backward_limits: What the backward endpoint allows; None for the same.
        cache: Sharing of answers across sweeps.
        store: Name of the sweep's own store of answers.
        share: Number of processes among which the limits are divided.
    """

    limits: LimitsConfig = field(default_factory=LimitsConfig)
    backward_limits: LimitsConfig | None = None
    cache: CacheConfig = field(default_factory=CacheConfig)
    store: str = "default"
    share: int = 1


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
        ledgers: list[Ledger],
    ) -> None:
        self._settings = settings
        self._task = task
        self._forward = forward
        self._ledgers = ledgers
        self._trainer = Trainer(
            task=task,
            config=settings.trainer,
            forward_model=forward.model,
            backward_model=backward.model,
            seed=settings.seed,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: TrialSettings, services: Services) -> AsyncIterator[Trial]:
        """Load the task and connect to the language models.

        Raises:
            DataError: If the task's data is missing.
            LLMError: If an endpoint cannot be reached or cannot score texts.
        """
        task = await anyio.to_thread.run_sync(load_task, settings.task, settings.data)
        check_settings(settings, task)
        ledgers = [Ledger()]
        async with AsyncExitStack() as stack:
            stores = await stack.enter_async_context(open_stores(services.cache, services.store))
            common: dict[str, Any] = {
                "share": services.share,
                "stores": stores,
                "ledgers": ledgers,
            }
            forward = backward = await stack.enter_async_context(
                connect(
                    settings.llm,
                    rung=settings.scoring.rung,
                    limits=services.limits,
                    **common,
                )
            )
            check_rung(settings, task, forward.route.rung)
            if settings.backward_llm is not None and settings.network.is_trained:
                limits = services.backward_limits or services.limits
                backward = await stack.enter_async_context(
                    connect(settings.backward_llm, rung=None, limits=limits, **common)
                )
            yield cls(settings, task, forward, backward, ledgers)

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
        metrics = {"dev/accuracy": state.best.dev_accuracy}
        route = asdict(self._forward.route)
        return state, {"kind": "start", "metrics": metrics, "candidates": []} | route

    async def _step(self, state: TrainerState) -> tuple[TrainerState, dict[str, Any]]:
        after, info = await self._trainer.step(state, self._trainer.draw_batch(state))
        return after, {"kind": "step", "metrics": info.metrics, "candidates": info.candidates}

    async def _test(self, state: TrainerState) -> tuple[TrainerState, dict[str, Any]]:
        """Look at the test split, once, with the network that is best on dev."""
        predictions = await evaluate(
            state.best.network,
            self._forward.model,
            self._task,
            self._task.splits.test,
            role=Role.test,
        )
        num_correct = sum(prediction.is_correct for prediction in predictions)
        low, high = wilson_interval(num_correct, len(predictions))
        test = {
            "num_items": len(predictions),
            "num_correct": num_correct,
            "accuracy": accuracy(predictions),
            "low": low,
            "high": high,
        }
        return replace(state, network=state.best.network), {
            "kind": "finish",
            "metrics": {"test/accuracy": test["accuracy"]},
            "candidates": [],
            "best_network": self._document(state.best.network),
            "predictions": [prediction.to_dict() for prediction in predictions],
            "test": test,
        }

    def _is_trained_out(self, state: TrainerState) -> bool:
        settings = self._settings
        return not settings.network.is_trained or state.step >= settings.trainer.num_iterations

    def _document(self, network: Network) -> dict[str, Any]:
        return network_document(network, self._settings.llm.model)


def initial_network(settings: TrialSettings, task: Task) -> Network:
    """The network that a trial starts from."""
    if settings.network.init is not None:
        return load_network(settings.network.init)
    shots = random_shots(task, settings.network.num_shots, settings.seed)
    return build_network(settings.network, task, shots)


def random_shots(task: Task, count: int, seed: int) -> list[Example]:
    """Training examples drawn without replacement."""
    train = task.splits.train
    order = generator(seed, 0, Choice.shots).permutation(len(train))
    return [train[i] for i in order[:count]]


def check_rung(settings: TrialSettings, task: Task, rung: str | None) -> None:
    """Refuse to train by next-token log-probs where whole texts must be scored.

    Raises:
        ScoringError: If hidden texts or free-text answers would be judged by their first token.
    """
    needs_texts = len(settings.network.layers) > 1 or not task.is_classification
    if settings.network.is_trained and needs_texts and rung == "label":
        raise ScoringError(
            f"{settings.llm.model} gives log-probs of the next token alone, but training "
            f"{settings.network.name} on {task.name} scores whole texts; use an endpoint that "
            "echoes log-probs, or one layer on a task with labels"
        )


def check_settings(settings: TrialSettings, task: Task) -> None:
    """Refuse settings that do not fit the task, before any call.

    Raises:
        ConfigError: If a split is empty or the batch does not fit into the training split.
    """
    for name in ("train", "dev", "test"):
        require(
            len(getattr(task.splits, name)) > 0,
            f"task {task.name} has an empty {name} split; check data.dir and data.max_{name}",
        )
    num_train = len(task.splits.train)
    require(
        not settings.network.is_trained or settings.trainer.batch_size < num_train,
        f"trainer.batch_size={settings.trainer.batch_size} is too large for the {num_train} "
        f"training examples of {task.name}; proposals need some beside the batch: make it smaller",
    )
    require(
        settings.network.num_shots <= num_train,
        f"network.num_shots={settings.network.num_shots} is more than the {num_train} training "
        f"examples of {task.name}; ask for fewer",
    )
    if task.is_classification:
        for example in task.splits.train:
            require(
                example.target in example.labels,
                f"item {example.id} of {task.name} has the answer {example.target!r}, which is not "
                f"among its labels ({', '.join(example.labels)}); correct the data",
            )
