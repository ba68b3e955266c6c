"""Which settings are tried: drawn by Optuna's samplers.

Every draw is a function of the search's seed and of what is known by then, so that the same search
makes the same draws again, whenever it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.search.space import Setting, Space
from orchestrator.settings.schema import RunConfig

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study


@dataclass(frozen=True, slots=True)
class Tried:
    """A setting that was run, with the mean dev accuracy of its trials; None if it gave none."""

    setting: Setting
    dev_accuracy: float | None


def draw(space: Space, count: int, seed: int) -> list[Setting]:
    """Draw settings at random; of two numbers of draws, the smaller are the first of the larger.

    Args:
        space: What may vary.
        count: How many.
        seed: Of the draws.
    """
    from optuna.samplers import RandomSampler

    return _ask(_study(RandomSampler(seed=seed)), space, count)


def choose(space: Space, tried: Sequence[Tried], count: int, seed: int) -> list[Setting]:
    """Choose the next settings by what is known of the earlier ones.

    Args:
        space: What may vary.
        tried: All earlier settings.
        count: How many to choose; as far as there is room they lie apart, though nothing is known
            of them yet.
        seed: Of the whole search.
    """
    import numpy as np
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState, create_trial

    # A seed of its own for each round, since a sampler's state would be lost with the process.
    (own_seed,) = np.random.SeedSequence([seed, len(tried)]).generate_state(1)
    study = _study(TPESampler(seed=int(own_seed), constant_liar=True))
    distributions = space.distributions()
    for each in tried:
        is_known = each.dev_accuracy is not None
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if is_known else TrialState.FAIL,
                value=each.dev_accuracy,
                params=space.params(each.setting),
                distributions=distributions,
            )
        )
    return _ask(study, space, count)


def first_settings(run: RunConfig, space: Space) -> list[Setting]:
    """Return what is known before the first trial: all random settings, or Optuna's first round."""
    return next_settings(run, space, [])


def next_settings(run: RunConfig, space: Space, tried: Sequence[Tried]) -> list[Setting]:
    """Return the settings that follow on those that were tried; none at the end.

    Args:
        run: Holds the search, and how many trials run at once.
        space: What may vary.
        tried: All earlier settings, in their order.
    """
    search = run.search
    if search.num_settings is None or search.seed is None:
        raise ValueError(f"search={search.kind} draws no settings")
    if search.kind == "random":
        return draw(space, search.num_settings, search.seed)[len(tried) :]
    count = min(search.round_size or run.cluster.max_trials, search.num_settings - len(tried))
    return choose(space, tried, count, search.seed)


def _study(sampler: BaseSampler) -> Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction="maximize", sampler=sampler)


def _ask(study: Study, space: Space, count: int) -> list[Setting]:
    distributions = space.distributions()
    return [space.setting(study.ask(distributions).params) for _ in range(count)]
