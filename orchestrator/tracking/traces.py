"""Logged calls of language models as MLflow traces: one a unit of work, a span a call.

The driver makes them from the log, with the times that it holds; what the log leaves out or
replaces is not in them either.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.call_files import CALLS_FILE, read_calls
from orchestrator.journal import Journal
from orchestrator.planning.plan import PlannedTrial
from orchestrator.tracking.store import Store
from orchestrator.trial_journal import read_events

if TYPE_CHECKING:
    from mlflow.entities import Span, TraceInfo

TRACED_TAG = "dln.traced_events"
MAX_PREVIEW_CHARS = 1000

Call = dict[str, Any]


@dataclass(slots=True)
class _Position:
    """How many events of a trial are traced, and how many lines of its log went into that."""

    num_events: int = 0
    num_lines: int = 0

    def take(self, path: Path, until: float) -> list[Call]:
        """Go on to the first call sent later than ``until`` and return those that are passed.

        The calls of a unit of work are written one after another, before its event is.
        """
        calls = []
        for line in read_calls(path, self.num_lines):
            if line.get("time", 0.0) > until:
                break
            self.num_lines += 1
            if "time" in line:
                calls.append(line)
        return calls


class Traces:
    """Writes the logged calls of trials to their runs.

    Args:
        store: Where traces go.
        journal: Where the logs are.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self._store = store
        self._journal = journal
        self._positions: dict[str, _Position] = {}

    def catch_up(self, trial: PlannedTrial, run_id: str, num_events: int) -> None:
        """Write the traces of the units of work that lack them, up to a number of events.

        A trace that is written again replaces itself.

        Raises:
            TrackingError: If the store is away.
            JournalError: If the log cannot be read.
        """
        # Put back at the end: after a failure it is ahead of what the tag says.
        at = self._positions.pop(run_id, None) or self._recorded(trial, run_id)
        folder = self._journal.folder(trial.trial_id)
        is_behind = at.num_events < num_events
        for event in read_events(folder, at.num_events, num_events):
            calls = at.take(folder / CALLS_FILE, event["time"])
            if calls:
                key = f"{self._journal.id} {trial.trial_id} {at.num_events}"
                self._write(_Unit(key, f"{trial.name}: {_title(event)}", calls), run_id)
            at.num_events += 1
        if is_behind:
            self._store.client.set_tag(run_id, TRACED_TAG, str(num_events))
        self._positions[run_id] = at

    def _recorded(self, trial: PlannedTrial, run_id: str) -> _Position:
        """Return how far a run's traces are written."""
        tags = self._store.client.get_run(run_id).data.tags
        at, folder = _Position(int(tags.get(TRACED_TAG, "0"))), self._journal.folder(trial.trial_id)
        for event in read_events(folder, max(0, at.num_events - 1), at.num_events):
            at.take(folder / CALLS_FILE, event["time"])
        return at

    def _write(self, unit: _Unit, run_id: str) -> None:
        from mlflow.tracing.client import TracingClient

        client = TracingClient(self._store.client.tracking_uri)
        client.start_trace(unit.info(self._store.experiment_id, run_id))
        client.log_spans(self._store.experiment_id, unit.spans())


class _Unit:
    """The calls of one unit of work; the same calls always make the same trace."""

    def __init__(self, key: str, name: str, calls: Sequence[Call]) -> None:
        digest = hashlib.sha256(key.encode()).digest()
        self._id, self._root = digest[:16], digest[16:24]
        self._name = name
        self._calls = calls
        self._start = min(call["time"] for call in calls)
        self._end = max(call["time"] + call["duration_s"] for call in calls)

    def info(self, experiment_id: str, run_id: str) -> TraceInfo:
        """Return what the list of traces shows."""
        from mlflow.entities import TraceInfo, TraceLocation, TraceState
        from mlflow.tracing.constant import TraceMetadataKey, TraceTagKey

        first = self._calls[0]
        return TraceInfo(
            trace_id=f"tr-{self._id.hex()}",
            trace_location=TraceLocation.from_experiment_id(experiment_id),
            request_time=int(1000 * self._start),
            execution_duration=int(1000 * (self._end - self._start)),
            state=TraceState.OK,
            request_preview=_question(first)[:MAX_PREVIEW_CHARS],
            response_preview=_answer(first)[:MAX_PREVIEW_CHARS],
            trace_metadata={
                TraceMetadataKey.SOURCE_RUN: run_id,
                TraceMetadataKey.TOKEN_USAGE: json.dumps(_tokens(self._calls)),
            },
            tags={TraceTagKey.TRACE_NAME: self._name},
        )

    def spans(self) -> list[Span]:
        """Return the unit as a span, and one below it for each of its calls."""
        roles = sorted({call["role"] for call in self._calls})
        root = {
            "inputs": {"roles": roles},
            "outputs": {"num_logged_calls": len(self._calls)},
            "type": "CHAIN",
        }
        spans = [self._span(self._root, b"", self._name, (self._start, self._end), root)]
        for number, call in enumerate(self._calls):
            span_id = hashlib.sha256(self._root + number.to_bytes(8, "big")).digest()[:8]
            times = call["time"], call["time"] + call["duration_s"]
            name = f"{call['role']}: {call['kind']}"
            spans.append(self._span(span_id, self._root, name, times, _told(call)))
        return spans

    def _span(
        self,
        span_id: bytes,
        parent: bytes,
        name: str,
        times: tuple[float, float],
        told: dict[str, Any],
    ) -> Span:
        from mlflow.entities import Span
        from mlflow.tracing.constant import SpanAttributeKey as Key

        attributes = {
            Key.REQUEST_ID: f"tr-{self._id.hex()}",
            Key.SPAN_TYPE: told["type"],
            Key.INPUTS: told["inputs"],
            Key.OUTPUTS: told["outputs"],
            **told.get("more", {}),
        }
        if "tokens" in told:
            attributes |= {Key.CHAT_USAGE: told["tokens"], Key.MODEL: told["model"]}
        error = told.get("error")
        return Span.from_dict(
            {
                "trace_id": _base64(self._id),
                "span_id": _base64(span_id),
                "parent_span_id": _base64(parent) if parent else None,
                "name": name,
                "start_time_unix_nano": _nanoseconds(times[0]),
                "end_time_unix_nano": _nanoseconds(times[1]),
                "status": {
                    "code": "STATUS_CODE_ERROR" if error else "STATUS_CODE_OK",
                    "message": error or "",
                },
                # As MLflow keeps them: each value a text of JSON.
                "attributes": {name: json.dumps(value) for name, value in attributes.items()},
            }
        )


def _told(call: Call) -> dict[str, Any]:
    """What a call's span tells."""
    messages = [{"role": one["role"], "content": one["text"]} for one in call["messages"]]
    inputs: dict[str, Any] = {"messages": messages}
    if call["targets"]:
        inputs["targets"] = call["targets"]
    return {
        "type": "CHAT_MODEL" if call["kind"] == "generation" else "LLM",
        "inputs": inputs | call["parameters"],
        "outputs": call["answers"],
        "tokens": _tokens([call]),
        "model": call["model"],
        "error": call["error"],
        "more": {"role": call["role"], "list_size": call["list_size"], "epoch": call["epoch"]},
    }


def _title(event: dict[str, Any]) -> str:
    return f"step {event['step']}" if event["kind"] == "step" else str(event["kind"])


def _tokens(calls: Iterable[Call]) -> dict[str, int]:
    usage = [call["usage"] for call in calls if call["usage"]]
    prompt = sum(one["prompt_tokens"] for one in usage)
    completion = sum(one["completion_tokens"] for one in usage)
    return {
        "input_tokens": prompt,
        "output_tokens": completion,
        "total_tokens": prompt + completion,
    }


def _question(call: Call) -> str:
    return str(call["messages"][-1]["text"]) if call["messages"] else ""


def _answer(call: Call) -> str:
    return " | ".join(str(answer["text"]) for answer in call["answers"])


def _nanoseconds(seconds: float) -> int:
    # A float holds no more of today's time than microseconds.
    return 1000 * round(1e6 * seconds)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
