"""What past trials took, by which the estimates of a plan are corrected.

A past trial is like a planned one if task, network, preset, models and scoring are the same; data
sizes, steps and all else may differ.  The formula of ``planning.estimate`` is asked what it
says of the past trial too: what that took, divided by what the formula says, is a factor for the
planned one.  Expected is the mean of the factors; the range leads from the least to the greatest of
them, a quarter wider at both ends.

The time of a planned trial follows from the seconds a call of past trials like it, and from how
many of them ran at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from dln_core.config import LLMConfig, TrialSettings
from dln_core.config.reading import config_from
from dln_core.errors import DLNError
from orchestrator.files import read_json
from orchestrator.planning.amounts import Estimate
from orchestrator.planning.call_costs import Cost
from orchestrator.planning.catalogue import Catalogue
from orchestrator.planning.plan import Plan, PlannedTrial, total_estimate
from orchestrator.planning.ranges import Spent, ranged
from orchestrator.summary import TrialSummary
from orchestrator.trial_journal import read_events

_log = logging.getLogger(__name__)

# The latest trials are looked at, so that a plan takes seconds whatever lies beside it.
MAX_LOOKED_AT = 300
MAX_LIKE = 8
_WIDER = 1.25
# Stored answers take no time: a trial that found most of them tells nothing of it.
_LEAST_PAID = 0.5


@dataclass(frozen=True, slots=True)
class Factors:
    """What a past trial took, divided by what the formula says of it."""

    calls: float
    prompt_tokens: float
    completion_tokens: float

    def of(self, spent: Spent, wider: float = 1.0) -> Spent:
        """Correct what the formula says of a trial like it."""
        forward, backward, judging = (
            Cost(
                cost.calls * self.calls * wider,
                cost.prompt_tokens * self.prompt_tokens * wider,
                cost.completion_tokens * self.completion_tokens * wider,
            )
            for cost in spent
        )
        return forward, backward, judging


@dataclass(frozen=True, slots=True)
class PastTrial:
    """A finished trial of a past run.

    Attributes:
        settings: What it depended on.
        summary: What it took.
        spans: Begin and end of its units of work, in Unix seconds.
        factors: What it took, divided by what the formula says of it.
    """

    settings: TrialSettings
    summary: TrialSummary
    spans: list[tuple[float, float]]
    factors: Factors


def with_past(plan: Plan) -> Plan:
    """Correct a plan's estimates by the trials of its own folder and of those beside it."""
    catalogue = Catalogue()
    kinds = {kind_of(trial.settings) for trial in plan.trials}
    past = _alike(read_past(plan.out_dir), kinds, catalogue)
    factors = {kind: [each.factors for each in like] for kind, like in past.items()}
    trials = tuple(_corrected(trial, factors.get(kind_of(trial.settings))) for trial in plan.trials)
    whole = total_estimate(trials, plan.run, catalogue)
    whole = replace(whole, num_past=sum(map(len, past.values())))
    return replace(plan, trials=trials, estimate=_timed(whole, plan, trials, past))


def kind_of(settings: TrialSettings) -> str:
    """What trials have in common that tell of each other."""

    def model(llm: LLMConfig) -> tuple[str, str]:
        return llm.provider, llm.model

    backward, judge = settings.backward_llm or settings.llm, settings.judge_llm or settings.llm
    models = (model(settings.llm), model(backward), model(judge))
    init = settings.network.init is not None
    network = replace(settings.network, init=None)
    shared = (settings.task, network, init, settings.trainer.preset, settings.scoring)
    return repr((*shared, models, settings.calibration))


def read_past(out_dir: Path) -> Iterator[tuple[Path, TrialSettings]]:
    """Yield the folders of recorded trials with their settings, the run's own ones first."""
    beside = [path.parent for path in out_dir.parent.glob("*/journal.json")]
    others = sorted((path for path in beside if path != out_dir), key=_time_of, reverse=True)
    folders = (
        folder
        for run in (out_dir, *others)
        for folder in sorted((run / "trials").glob("*"), key=_time_of, reverse=True)
    )
    for folder in islice(folders, MAX_LOOKED_AT):
        settings = _read_settings(folder)
        if settings is not None:
            yield folder, settings


def _time_of(path: Path) -> float:
    return path.stat().st_mtime


def _read_settings(folder: Path) -> TrialSettings | None:
    try:
        with (folder / "config.yaml").open("rb") as file:
            values = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return config_from(TrialSettings, values)
    except (OSError, yaml.YAMLError, DLNError, TypeError, AttributeError) as error:
        # What another version wrote, or a kill left, tells nothing; a plan does without it.
        _log.info("%s is left out of the estimate: %s", folder, error)
        return None


def _alike(
    found: Iterable[tuple[Path, TrialSettings]], kinds: set[str], catalogue: Catalogue
) -> dict[str, list[PastTrial]]:
    """Read what trials of these kinds took, the latest few of each."""
    past: dict[str, list[PastTrial]] = {}
    for folder, settings in found:
        kind = kind_of(settings)
        if kind not in kinds or len(past.get(kind, ())) == MAX_LIKE:
            continue
        trial = _read_trial(folder, settings, catalogue)
        if trial is not None:
            past.setdefault(kind, []).append(trial)
    return past


def _read_trial(folder: Path, settings: TrialSettings, catalogue: Catalogue) -> PastTrial | None:
    summary, spans = TrialSummary(), []
    try:
        saved: dict[str, Any] = read_json(folder / "state.json") or {"num_events": 0}
        for event in read_events(folder, 0, saved["num_events"]):
            summary.add(event)
            if "seconds" in event:
                spans.append((event["time"] - event["seconds"], event["time"]))
        if summary.status != "finished" or summary.stopped is not None:
            return None
        # The formula reads the trial's data and first network, which may be gone by now.
        factors = _factors(settings, summary, catalogue)
    except (DLNError, OSError, KeyError, ZeroDivisionError) as error:
        _log.info("%s is left out of the estimate: %s", folder, error)
        return None
    return PastTrial(settings, summary, spans, factors)


def _factors(settings: TrialSettings, summary: TrialSummary, catalogue: Catalogue) -> Factors:
    usage = summary.usage
    said = catalogue.expected(settings)[0].total
    # The formula takes scored answers to be read; whoever counts them as written differs there.
    is_split = said.completion_tokens > 0 and usage["tokens_completion"] > 0
    return Factors(
        calls=usage["calls"] / said.calls,
        prompt_tokens=(usage["tokens_prompt"] if is_split else summary.tokens) / said.prompt_tokens,
        completion_tokens=usage["tokens_completion"] / said.completion_tokens if is_split else 1.0,
    )


def _corrected(trial: PlannedTrial, factors: Sequence[Factors] | None) -> PlannedTrial:
    if not factors:
        return trial
    estimate = trial.estimate
    expected = (estimate.forward, estimate.backward, estimate.judging)
    low = _reduced(factors, min).of(expected, 1.0 / _WIDER)
    high = _reduced(factors, max).of(expected, _WIDER)
    mean = _reduced(factors, fmean).of(expected)
    return replace(trial, estimate=ranged(trial.settings, mean, low, high, len(factors)))


def _reduced(factors: Sequence[Factors], reduce: Callable[[Iterable[float]], float]) -> Factors:
    return Factors(
        reduce([one.calls for one in factors]),
        reduce([one.prompt_tokens for one in factors]),
        reduce([one.completion_tokens for one in factors]),
    )


def _timed(
    whole: Estimate, plan: Plan, trials: Sequence[PlannedTrial], past: dict[str, list[PastTrial]]
) -> Estimate:
    """Put the time by past trials into the estimate of a plan, if all its kinds have been seen."""
    timely = {kind: [one for one in like if _was_paid(one)] for kind, like in past.items()}
    paces = {kind: _pace(like) for kind, like in timely.items() if like}
    kinds = [kind_of(trial.settings) for trial in trials]
    if not set(kinds) <= paces.keys():
        return whole
    at_once = min(plan.run.cluster.max_trials, len(trials))
    was_at_once = min(
        float(at_once), _num_at_once([one for like in timely.values() for one in like])
    )

    def busy(calls: Iterable[float], all_calls: float) -> float:
        listed = list(calls)
        seconds = sum(number * paces[kind] for number, kind in zip(listed, kinds, strict=True))
        # The reference points' calls are taken to be like those of the trials.
        return seconds * all_calls / sum(listed)

    expected = busy((t.estimate.total.calls for t in trials), whole.total.calls) / was_at_once
    low = busy((t.estimate.low.cost.calls for t in trials), whole.low.cost.calls) / at_once
    high = busy((t.estimate.high.cost.calls for t in trials), whole.high.cost.calls) / was_at_once
    least = whole if whole.time_basis == "limits" else Estimate()
    return replace(
        whole,
        seconds=max(expected, least.seconds or 0.0),
        low=replace(whole.low, seconds=max(low, least.low.seconds or 0.0)),
        high=replace(whole.high, seconds=max(high, least.high.seconds or 0.0)),
        time_basis="past",
    )


def _was_paid(past: PastTrial) -> bool:
    usage = past.summary.usage
    return usage["paid_calls"] >= _LEAST_PAID * usage["calls"] > 0


def _pace(like: Sequence[PastTrial]) -> float:
    """Seconds a call."""
    calls = sum(past.summary.usage["calls"] for past in like)
    return sum(past.summary.seconds for past in like) / calls


def _num_at_once(past: Sequence[PastTrial]) -> float:
    """How many trials ran at once on average, while any did."""
    spans = sorted(span for each in past for span in each.spans)
    covered, reached = 0.0, float("-inf")
    for begin, end in spans:
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    total = sum(end - begin for begin, end in spans)
    return max(1.0, total / covered) if covered else 1.0
