"""A search under way: settings are chosen, run, judged by mean dev accuracy, and chosen again.

Every round runs the plan of all settings chosen so far, of which earlier ones are done.  What was
chosen is on disk before it is begun, in ``search.json``, so that a search that is resumed goes on
with the same settings.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Protocol

import anyio

from orchestrator.files import read_json, write_atomic
from orchestrator.journal import Journal
from orchestrator.planning.past import with_past
from orchestrator.planning.plan import Plan, make_plan
from orchestrator.search.sampling import Tried, first_settings, next_settings
from orchestrator.search.space import Setting, Space
from orchestrator.settings.compose import ChooseSettings
from orchestrator.settings.schema import RunConfig
from orchestrator.terminal.console import choose_output, say

SEARCH_FILE = "search.json"


class Compose(Protocol):
    """Makes the points of a search whose settings are chosen by a function."""

    def __call__(self, *, choose: ChooseSettings) -> list[RunConfig]:
        """Return the points of one setting after the other, equally many of each."""
        ...


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a trial."""

    status: str
    dev_accuracy: float | None
    test_accuracy: float | None


class Search:
    """A search in its output folder.

    Args:
        compose: Makes the configurations of what is searched.

    Attributes:
        plan: The trials of all settings chosen so far.

    Raises:
        ConfigError: If the configurations are refused.
        DataError: If the data of a task is missing or damaged.
        JournalError: If the output folder cannot be read.
    """

    def __init__(self, compose: Compose) -> None:
        self._compose = compose
        self._outcomes: dict[str, _Outcome] = {}
        self._settings: list[Setting] = []
        self._num_before = 0  # settings before the last round
        self._left_out: dict[str, Any] = {}  # what a longer search has on record beyond this one
        self._space = Space((), {})
        self.plan = make_plan(compose(choose=self._begin))
        choose_output(self.plan.run.output)  # something may be said already
        recorded, num_before = self._recorded()
        self._num_recorded = len(recorded)
        if len(recorded) >= len(self._settings) and recorded != self._settings:
            self._settings = recorded
            # Of a search with fewer settings that round may lie beyond them.
            self._num_before = num_before if num_before < len(recorded) else 0
            self.plan = self._planned()

    def run(self) -> int:
        """Run or resume the search and return the exit code: 0 if all trials finished, else 1.

        It ends early when trials are left open, as at the end of a budget, or a whole round failed.

        Raises:
            DLNError: As ``run_plan``.
        """
        from orchestrator.scheduler import run_plan

        started_s = time.monotonic()
        if len(self._settings) > self._num_recorded:
            self._record()
        while True:
            code = anyio.run(run_plan, self.plan, started_s)
            if not self.advance():
                break
        say(self.verdict())
        return code

    def advance(self) -> bool:
        """Judge the settings by their trials and choose the next; return whether there are any.

        There are none while trials are open, or if all of the last round failed.

        Raises:
            ConfigError: If a chosen setting is refused.
            JournalError: If the output folder cannot be read or written.
        """
        self._judge()
        num_before = len(self._settings)
        if self._goes_on():
            self._settings += next_settings(self.plan.run, self._space, self._tried())
        if has_more := len(self._settings) > num_before:
            self._num_before = num_before
            self.plan = self._planned()
            chosen = f"{len(self._settings)} of {self._num_settings} settings are chosen"
            say(f"search: {chosen}{self._equal_note()}")
        self._record()
        return has_more

    def verdict(self) -> str:
        """Say which setting did best on dev, as far as trials have finished."""
        if not self._outcomes:
            self._judge()
        tried = self._tried()
        best = _best(tried)
        if best is None:
            return "search: no setting has finished on all tasks, networks and seeds yet"
        outcomes = [self._outcomes[key] for key in self._trials_of(best)]
        dev, test = (
            100 * fmean(value for value in values if value is not None)
            for values in zip(*((o.dev_accuracy, o.test_accuracy) for o in outcomes), strict=True)
        )
        values = ", ".join(f"{key}={text}" for key, text in tried[best].setting.items())
        num_known = _num_distinct(each.setting for each in tried if each.dev_accuracy is not None)
        return (
            f"search: of {num_known} settings the best on dev is {values}: mean dev {dev:.1f}, "
            f"mean test {test:.1f} over {len(outcomes)} trial(s); test played no part in the choice"
        )

    def outlook(self) -> str:
        """Say what is still to be chosen after the settings of the plan."""
        done, total, note = len(self._settings), self._num_settings, self._equal_note()
        drawn = f"{total} draws{note}" if note else f"{total} settings"
        if done >= total:
            return f"search: these are all of the {drawn}"
        ratio = (total - done) / done
        costs = [trial.estimate.total for trial in with_past(self.plan).trials]
        calls, tokens = sum(cost.calls for cost in costs), sum(cost.tokens for cost in costs)
        return (
            f"search: these are the first {done} of {drawn}; the other {total - done} are "
            "chosen by the dev accuracy of those before, for about "
            f"{ratio * len(costs):,.0f} trials, {ratio * calls:,.0f} calls and "
            f"{ratio * tokens:,.0f} tokens more"
        )

    @property
    def _num_settings(self) -> int:
        return self.plan.run.search.num_settings or 0

    def _equal_note(self) -> str:
        """Say how many settings the draws so far gave; nothing if all of them differ."""
        num_distinct = _num_distinct(self._settings)
        if num_distinct == len(self._settings):
            return ""
        settings = "1 setting" if num_distinct == 1 else f"{num_distinct} different settings"
        return f" ({settings}, as equal draws run once)"

    def _begin(self, run: RunConfig, space: Space) -> list[Setting]:
        self._space, self._settings = space, first_settings(run, space)
        return self._settings

    def _planned(self) -> Plan:
        return make_plan(self._compose(choose=lambda _run, _space: self._settings))

    def _judge(self) -> None:
        """Read what came of the trials that were not finished when they were last looked at."""
        journal = Journal(self.plan.out_dir)
        for trial in self.plan.trials:
            known = self._outcomes.get(trial.trial_id)
            if known is None or known.status != "finished":
                summary = journal.read(trial.trial_id).summary
                test = None if summary.test is None else summary.test["accuracy"]
                outcome = _Outcome(summary.status, summary.dev_accuracy, test)
                self._outcomes[trial.trial_id] = outcome

    def _trials_of(self, index: int) -> tuple[str, ...]:
        """The trials of a setting by id; equal ones are one."""
        size = len(self.plan.points) // len(self._settings)
        return tuple(dict.fromkeys(self.plan.points[index * size : (index + 1) * size]))

    def _tried(self) -> list[Tried]:
        return [Tried(setting, self._mean_dev(i)) for i, setting in enumerate(self._settings)]

    def _mean_dev(self, index: int) -> float | None:
        """Mean dev accuracy of a setting; None unless all of its trials have finished."""
        outcomes = [self._outcomes.get(key) for key in self._trials_of(index)]
        values = [
            each.dev_accuracy for each in outcomes if each is not None and each.status == "finished"
        ]
        known = [value for value in values if value is not None]
        return fmean(known) if len(known) == len(outcomes) else None

    def _goes_on(self) -> bool:
        """Whether all trials have ended, and not all of the last round in failures."""
        statuses = {key: each.status for key, each in self._outcomes.items()}
        size = len(self.plan.points) // len(self._settings)
        last_round = {statuses[key] for key in self.plan.points[self._num_before * size :]}
        return set(statuses.values()) <= {"finished", "failed"} and "finished" in last_round

    def _identity(self) -> dict[str, Any]:
        search = self.plan.run.search
        return {"kind": search.kind, "seed": search.seed, "space": self._space.texts}

    def _recorded(self) -> tuple[list[Setting], int]:
        """The settings chosen in the output folder before, and how many before the last round."""
        saved = read_json(self.plan.out_dir / SEARCH_FILE)
        if saved is None:
            return [], 0
        if {key: saved[key] for key in self._identity()} != self._identity():
            say("note: the kind, seed or space of the search changed, so that it begins anew")
            return [], 0
        rows, num_before = saved["settings"], saved.get("num_before_last_round", 0)
        if later := rows[self._num_settings :]:
            self._left_out = {"settings": later, "num_before_last_round": num_before}
        return [each["values"] for each in rows[: self._num_settings]], num_before

    def _record(self) -> None:
        with Journal.locked(self.plan.out_dir):
            write_atomic(
                self.plan.out_dir / SEARCH_FILE,
                json.dumps(self._to_dict(), ensure_ascii=False, indent=2) + "\n",
            )

    def _to_dict(self) -> dict[str, Any]:
        later = self._left_out
        return self._identity() | {
            "settings": [*self._rows(), *later.get("settings", ())],
            "num_before_last_round": later.get("num_before_last_round", self._num_before),
            "best": _best(self._tried()),
        }

    def _rows(self) -> Iterator[dict[str, Any]]:
        for index, tried in enumerate(self._tried()):
            trials = list(self._trials_of(index))
            yield {"values": tried.setting, "dev_accuracy": tried.dev_accuracy, "trials": trials}


def _num_distinct(settings: Iterable[Setting]) -> int:
    return len({tuple(setting.items()) for setting in settings})


def _best(tried: list[Tried]) -> int | None:
    """Position of the setting with the highest dev accuracy, of equal ones the first."""
    known = [
        (each.dev_accuracy, -i) for i, each in enumerate(tried) if each.dev_accuracy is not None
    ]
    return -max(known)[1] if known else None
