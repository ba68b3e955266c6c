"""What a plan will cost, before any call: calls, tokens, money and, where it is known, time.

One run of a network takes W calls, one for each copy of each layer that has a prompt.  With B
ranked examples a step, E more that proposals see, N proposals, K hidden samples, R remembered
prompts, V validations, C inputs for calibration (at most 64, none without it or without labels),
and dev and test sizes D and T, a trial makes

* dev and test: ``W * D * (1 + V)`` and ``W * T`` calls, ``W * C`` at first and in each step, and a
  step
* forward: ``W * (B + E)``;
* posterior: for each copy of a hidden layer and each of B + E examples K samples (K - 1 if the
  forward text is one), K scorings for each copy that reads it (twice as many with mutual
  information), and one for the prior and for each part of the guide whose density is used;
* proposal: for each trained prompt N texts; rules take one a label, at most 6, and candidates that
  only get other worked examples take none;
* score: for each prompt ``B * (1 + r * (R + N))`` measurements, B where it is not trained in the
  step; one scores every copy that uses the prompt after each of ``J = min(64, K ** h)`` texts that
  the copy may read, h being the number of hidden copies whose texts it reads.

Without racing r is 1.  A race is taken to drop half of the candidates after its first round of F
examples: ``r = (1 + F / B) / 2``.

A labelled answer is one scoring, which covers all labels of its example; so does the scoring of K
hidden texts.  Free texts that vote by probability are written and scored.  With
``scoring.rung=monte_carlo`` M runs of all that follows stand in for the scorings of a hidden sample
and of a candidate for a hidden prompt, and M answers for the scoring of an answer.

The reference points of a task take three passes over the test items, and one over C inputs; each of
``handwritten`` one more, ``kate`` one, ``cot`` two.

With ``task.judge=llm`` there is a call for each answer to a dev or test item, a training example
of a step or a sampled answer (of which there are at most as many as calls that sample), none for
those that equal the target to the letter.

Texts are counted at four characters a token, for the simulated model in words.  Endpoints that
score text by text bill a prompt once a text.

What is not known beforehand makes a range.  ``trial_costs.LOW``, ``LIKELY`` and ``HIGH`` say what
is assumed of the lengths of written texts, of the growth of prompts, of equal or refused proposals
and of races.  At the lower end patience ends training as early as it can.  At the upper end, where
a probe has yet to tell what the endpoint can do, texts are scored by samples, and a tenth of the
calls is made again.  Tokenizers differ by a third.  Answers that are found in a store are part of
what is asked for and cost nothing: at the lower end, half of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dln_core.baselines.networks import NUM_SHOTS, THOUGHTS_TOKENS, wording
from dln_core.building import initial_network
from dln_core.calibration import MAX_INPUTS
from dln_core.checks import effective_rung
from dln_core.config import TrainerConfig, TrialSettings
from dln_core.config.baselines import DEFAULT_BASELINES
from dln_core.tasks import Task
from dln_core.tasks.judges.custom import LLM
from dln_core.templates import JUDGE, load_template
from orchestrator.planning.amounts import FIGURES, Estimate, known_sum, total_amounts
from orchestrator.planning.call_costs import Cost, TaskSize, add_up, answer_call
from orchestrator.planning.durations import timed
from orchestrator.planning.ranges import Spent, ranged, scaled
from orchestrator.planning.text_lengths import answering_prompt
from orchestrator.planning.trial_costs import HIGH, LIKELY, LOW, Assumptions, TrialCosts
from orchestrator.settings.schema import RunConfig

if TYPE_CHECKING:
    from orchestrator.planning.plan import Plan
    from orchestrator.summary import TrialSummary

_MORE_CALLS = 1.1
# A third more or less: most tokenizers take from three to six characters of English a token.
_TOKEN_RANGE = (0.67, 1.33)
# The simulated model counts words; examples that are used are not quite as long as all are.
_WORD_RANGE = (0.8, 1.2)
# Models that score whatever text they are asked to.
_SCORING = ("local", "simulated")
# What the hosts of chat models are known to tell: log-probs of the next token, or none.
_LIKELY_RUNGS = {"openai": "label", "azure": "label", "anthropic": "monte_carlo"}


def trial_costs(
    settings: TrialSettings, task: Task, size: TaskSize, assumed: Assumptions = LIKELY
) -> TrialCosts:
    """Lay out what the parts of a trial cost.

    Raises:
        ConfigError: If the initial network cannot be made.
        ScoringError: If ``scoring.rung`` cannot do what the network asks for.
    """
    rung = effective_rung(settings, task, _assumed_rung(settings, assumed))
    return TrialCosts(
        network=initial_network(settings, task),
        trainer=settings.trainer,
        size=_as_scored(settings, size, assumed),
        num_rollouts=settings.scoring.num_samples if rung == "monte_carlo" else 0,
        assumed=assumed,
    )


def estimate_trial(settings: TrialSettings, task: Task, size: TaskSize) -> Estimate:
    """Estimate one trial by the formula at the head of this module.

    Raises:
        ConfigError: If the initial network cannot be made.
        ScoringError: If ``scoring.rung`` cannot do what the network asks for.
    """
    costs = {each: trial_costs(settings, task, size, each) for each in (LIKELY, LOW, HIGH)}
    spent = {each: _spent(settings, one) for each, one in costs.items()}
    return _ranged(settings, spent[LIKELY], spent[LOW], spent[HIGH])


def _ranged(settings: TrialSettings, likely: Spent, low: Spent, high: Spent) -> Estimate:
    less, more = _WORD_RANGE if settings.llm.provider == "simulated" else _TOKEN_RANGE
    most = scaled(high, calls=_MORE_CALLS, tokens=_MORE_CALLS * more)
    return ranged(settings, likely, scaled(low, tokens=less), most)


def _spent(settings: TrialSettings, costs: TrialCosts) -> Spent:
    """What the models of the layers, of the proposals and of the judge are asked for."""
    trainer, size = settings.trainer, costs.size
    first, example = costs.first_pass(), costs.one_pass()
    num_calibrating = num_calibration_inputs(settings, size)
    forward = first.times(size.num_dev + num_calibrating) + example.times(size.num_test)
    backward, num_judged = Cost(), float(size.num_dev + size.num_test)
    if any(layer.trained for layer in costs.network.layers):
        steps, validations = _num_steps(trainer, costs.assumed)
        inner = costs.weighing().times(costs.num_seen) + costs.ranking().times(costs.batch_size)
        forward += (example.times(costs.num_seen + num_calibrating) + inner).times(steps)
        forward += example.times(size.num_dev * validations)
        is_sampled = costs.num_rollouts > 0 and not size.label_tokens
        num_judged += (costs.num_seen + (inner.calls if is_sampled else 0.0)) * steps
        num_judged += size.num_dev * validations
        backward = costs.hidden_samples().times(costs.num_seen) + costs.proposals()
        backward = backward.times(steps)
    return forward, backward, one_verdict(settings, size).times(num_judged)


def estimate_baselines(
    settings: TrialSettings, size: TaskSize, names: Sequence[str] = DEFAULT_BASELINES
) -> Estimate:
    """Estimate the named reference points that a task gets once beside its trials."""
    size = _as_scored(settings, size, LIKELY)
    prompt = answering_prompt(size)
    shots = min(NUM_SHOTS, size.num_train) * (size.input_tokens + size.target_tokens)
    thoughts = THOUGHTS_TOKENS / 2
    plain, shown = answer_call(size, prompt), answer_call(size, prompt + shots)
    costs = {
        "initial": plain,
        "handwritten": plain.times(len(wording().handwritten)),
        "few_shot": shown,
        "kate": shown,
        "cot": Cost(1.0, prompt, thoughts) + answer_call(size, prompt + thoughts),
    }
    total = add_up(costs[name] for name in names if name in costs).times(size.num_test)
    if size.label_tokens and "initial_calibrated" in names:
        total += plain.times(size.num_test + min(MAX_INPUTS, size.num_train))
    rows = dict.fromkeys(names, 1) | {"handwritten": len(wording().handwritten)}
    num_judged = sum(rows[name] for name in names) * size.num_test
    spent = (total, Cost(), one_verdict(settings, size).times(num_judged))
    return _ranged(settings, spent, spent, spent)


def one_verdict(settings: TrialSettings, size: TaskSize) -> Cost:
    """What one verdict takes, nothing where no model judges."""
    if settings.task.judge != LLM:
        return Cost()
    template = load_template(JUDGE)
    shown = size.input_tokens + 2 * size.target_tokens
    return Cost(1.0, size.num_tokens(template.opening + template.turn) + shown, 1.0)


def sum_estimates(parts: Sequence[Estimate], run: RunConfig) -> Estimate:
    """Add estimates up; one unknown price makes the money unknown.

    Args:
        parts: Estimates of trials and reference points.
        run: Its limits and model tell what is known of the time.
    """
    whole = Estimate(
        forward=add_up(part.forward for part in parts),
        backward=add_up(part.backward for part in parts),
        judging=add_up(part.judging for part in parts),
        cost_usd=known_sum(part.cost_usd for part in parts),
        low=total_amounts(part.low for part in parts),
        high=total_amounts(part.high for part in parts),
        num_past=sum(part.num_past for part in parts),
    )
    return timed(whole, run)


def compare(plan: Plan, summaries: Mapping[str, TrialSummary]) -> list[dict[str, Any]]:
    """Compare what the finished trials of a plan were expected to use with what they used.

    The plan's reference points are no part of it, nor are trials that a budget or a scheduler
    stopped.  Money is that of paid calls: what a store held already makes it less than expected.
    The time is that of all trials divided by the trials at once.

    Args:
        plan: Its estimates rest on the formula, whatever past runs took.
        summaries: What was recorded, by ``trial_id``.

    Returns:
        A row for each of ``calls``, ``tokens``, ``cost_usd`` and ``seconds``: ``figure``,
        ``expected``, ``low``, ``high``, ``actual``, each None where it is not known, and
        ``num_trials``, the trials that are compared; no row if there are none.
    """
    done = [
        (trial.estimate, summaries[trial.trial_id])
        for trial in plan.trials
        if trial.trial_id in summaries
        and summaries[trial.trial_id].status == "finished"
        and summaries[trial.trial_id].stopped is None
    ]
    if not done:
        return []
    estimate = sum_estimates([expected for expected, _ in done], plan.run)
    at_once = min(plan.run.cluster.max_trials, len(done))
    actual = {
        "calls": sum(summary.usage["calls"] for _, summary in done),
        "tokens": sum(summary.tokens for _, summary in done),
        "cost_usd": known_sum(summary.cost_usd for _, summary in done),
        "seconds": sum(summary.seconds for _, summary in done) / at_once,
    }
    ends = {
        name: amounts.to_dict()
        for name, amounts in (
            ("expected", estimate.expected),
            ("low", estimate.low),
            ("high", estimate.high),
        )
    }
    return [
        {
            "figure": figure,
            **{name: values[figure] for name, values in ends.items()},
            "actual": actual[figure],
            "num_trials": len(done),
        }
        for figure in FIGURES
    ]


def _assumed_rung(settings: TrialSettings, assumed: Assumptions) -> str:
    """The rung that is set, or else that is assumed before a probe tells."""
    rung, provider = settings.scoring.rung, settings.llm.provider
    if rung != "auto" or provider in _SCORING or settings.network.layers[-1].join == "vote":
        return rung
    return "monte_carlo" if assumed is HIGH else _LIKELY_RUNGS.get(provider, rung)


def _as_scored(settings: TrialSettings, size: TaskSize, assumed: Assumptions) -> TaskSize:
    """The size of the task for a model that gives no log-probs, if it is taken to give none."""
    has_none = _assumed_rung(settings, assumed) == "monte_carlo"
    return replace(size, label_tokens=0.0) if has_none else size


def num_calibration_inputs(settings: TrialSettings, size: TaskSize) -> int:
    """C, inputs that a calibration scores; none without one, or where answers are written."""
    is_calibrated = settings.calibration == "empirical" and size.label_tokens
    return min(MAX_INPUTS, size.num_train) if is_calibrated else 0


def _num_steps(trainer: TrainerConfig, assumed: Assumptions) -> tuple[int, int]:
    """Steps of training, and validations after the first one."""
    steps, every = trainer.num_iterations, trainer.validate_every
    if assumed is LOW and trainer.patience is not None and every:
        steps = min(steps, trainer.patience * every)
    return steps, math.ceil(steps / every) if every else 1
