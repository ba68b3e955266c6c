"""The Ray actors: one owns one trial, another the reference points of one task.

The driver pulls: each call of ``advance`` does one unit of work, and the next call tells that the
last one is on disk.  Nothing here imports MLflow or Hydra, which would cost every actor 70 MB.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from dln_core.baselines.run import Measured, measure_baselines
from dln_core.config import TrialSettings
from dln_core.errors import DLNError
from dln_core.llm.allowance import Allowance, Amount
from dln_core.trial import Advance, Services, Trial
from orchestrator.cluster.local_server import with_addresses
from orchestrator.cluster.materials import Materials
from orchestrator.cluster.nodes import node_of_this_process
from orchestrator.groups import first_of
from orchestrator.metrics import Figures, limiter_figures, recording
from orchestrator.resuming import Begun, open_trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an actor is asked to do next, see ``Trial.advance``.

    Attributes:
        state: JSON of the state of the last unit of work; ``null`` at the very start.
        unit: Names the unit of work that is asked for.
        stop: Why to skip the remaining steps and do the final test.
        amount: What the unit may use; None for no bound.
        seconds: For how long its calls may be begun.
    """

    state: str
    unit: str | None = None
    stop: str | None = None
    amount: Amount | None = None
    seconds: float = math.inf

    def allowance(self) -> Allowance | None:
        """Make the allowance; its time begins now."""
        return None if self.amount is None else Allowance(self.amount, self.seconds)


Waiting = tuple[Order, MemoryObjectSendStream[Advance]]


class TrialActor:
    """Keeps one trial open between the driver's calls.

    Args:
        name: Readable name of the trial.
        epoch: Which start of the trial this actor is; it goes into every event.
        settings: What the trial depends on.
        services: How its calls are carried out.
        begun: How the trial scores texts if it began before.
        materials: What the trial reads from the driver's disk.
    """

    def __init__(
        self,
        name: str,
        epoch: int,
        settings: TrialSettings,
        services: Services,
        begun: Begun,
        materials: Materials,
    ) -> None:
        self._name = name
        self._epoch = epoch
        self._settings = settings
        self._services = services
        self._begun = begun
        self._materials = materials
        self._trial: Trial | None = None
        self._failure: Exception | None = None
        self._step = 0
        self._dev_accuracy: float | None = None
        self._ended = anyio.Event()
        self._orders, self._inbox = anyio.create_memory_object_stream[Waiting](0)

    def __repr__(self) -> str:
        return f"{self._name} · step {self._step}"

    async def node_id(self) -> str:
        """Return which node of the cluster the actor was placed on."""
        return node_of_this_process()

    async def hold(self, addresses: dict[str, str]) -> None:
        """Open the trial and carry out orders until ``close``; failures reach ``advance``.

        One task enters and leaves the trial, as its task group demands; Ray runs every method
        call as a task of its own.

        Args:
            addresses: Where the servers of local models are, by model.
        """
        try:
            # Whoever sends an order learns from the closed inbox that nobody takes it.
            async with self._inbox:
                await self._serve(with_addresses(self._settings, addresses))
        except Exception as error:  # the trial boundary: handed to whoever waits in advance
            self._failure = first_of(error)
        finally:
            self._ended.set()

    async def _serve(self, settings: TrialSettings) -> None:
        with self._materials.laid_out(settings) as laid_out:
            opening = open_trial(laid_out, self._services, self._begun, self._materials.task)
            async with opening as trial, recording(laid_out, self._figures):
                self._trial = trial
                await self._carry_out_orders(trial, self._inbox)

    async def _carry_out_orders(
        self, trial: Trial, inbox: MemoryObjectReceiveStream[Waiting]
    ) -> None:
        async for order, reply in inbox:
            async with reply:
                advance = await trial.advance(
                    json.loads(order.state),
                    stop=order.stop,
                    allowance=order.allowance(),
                    unit=order.unit,
                )
                await reply.send(advance)

    async def advance(self, order: Order) -> str:
        """Do the trial's next unit of work.

        Returns:
            JSON of ``state``, ``event`` (with ``epoch`` and ``time`` in Unix seconds) and ``done``.

        Raises:
            DLNError: What ended the trial.
        """
        reply, answer = anyio.create_memory_object_stream[Advance](1)
        try:
            await self._orders.send((order, reply))
            async with answer:
                advance = await answer.receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            await self._ended.wait()
            raise self._failure or DLNError(f"the trial {self._name} was closed") from None
        self._step = advance.event.get("step", self._step)
        if "best" in advance.event:
            self._dev_accuracy = advance.event["best"]["dev_accuracy"]
        event = {**advance.event, "epoch": self._epoch, "time": time.time()}
        values = {"state": advance.state, "event": event, "done": advance.done}
        return json.dumps(values, allow_nan=False)

    async def progress(self) -> dict[str, Any]:
        """Return the live counters of the trial; empty before it is open."""
        return self._trial.progress() if self._trial else {}

    def _figures(self) -> Figures:
        counts = self._trial.progress() if self._trial else {}
        trained = {"step": self._step, "dev_accuracy": self._dev_accuracy}
        return counts | trained | dict(limiter_figures(self._services.limiters))

    async def calls(self) -> str:
        """Return JSON of the calls logged since the last time: ``entries``, ``num_left_out``."""
        return _taken(self._services)

    async def close(self) -> None:
        """Let ``hold`` leave the trial; return once it has, with all that it held given back."""
        await self._orders.aclose()
        if self._trial is not None:
            await self._ended.wait()


class BaselineActor:
    """Computes the reference points of one task, split and model.

    Args:
        name: Readable name.
        services: How its calls are carried out.
    """

    def __init__(self, name: str, services: Services) -> None:
        self._name = name
        self._services = services

    def __repr__(self) -> str:
        return self._name

    async def node_id(self) -> str:
        """Return which node of the cluster the actor was placed on."""
        return node_of_this_process()

    async def run(
        self, settings: TrialSettings, names: Sequence[str], materials: Materials, order: Order
    ) -> Measured:
        """Measure the named reference points, as far as the order's allowance suffices.

        Raises:
            DLNError: If they cannot be computed.
        """
        try:
            return await measure_baselines(
                settings,
                self._services,
                names,
                task=materials.task,
                unit=order.unit,
                allowance=order.allowance(),
            )
        except ExceptionGroup as group:
            raise first_of(group) from None

    async def calls(self) -> str:
        """Return JSON of the calls logged since the last time: ``entries``, ``num_left_out``."""
        return _taken(self._services)


def _taken(services: Services) -> str:
    entries, num_left_out = services.call_log.take() if services.call_log else ([], 0)
    return json.dumps({"entries": entries, "num_left_out": num_left_out}, allow_nan=False)
