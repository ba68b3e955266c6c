"""What must hold between settings, data and endpoint before a trial makes its first call."""

from __future__ import annotations

from dln_core.config import TrialSettings, require
from dln_core.errors import ScoringError
from dln_core.tasks.answers import AnswerKind
from dln_core.tasks.task import Task


def effective_rung(settings: TrialSettings, task: Task, rung: str | None) -> str | None:
    """The rung that a trial really uses.

    Log-probs of the next token suffice to choose among labels.  To train on hidden texts or on
    free answers, whose whole texts would have to be scored, they do not: those are sampled.

    Raises:
        ScoringError: If the answer is a vote by probability over texts that cannot be scored.
    """
    if rung not in ("label", "monte_carlo"):
        return rung
    network = settings.network
    has_labels = task.is_classification and rung == "label"
    if network.layers[-1].join == "vote" and not has_labels:
        raise ScoringError(
            f"{network.name} lets answers vote by their log-probs, but {settings.llm.model} gives "
            f"none for whole texts; set join: majority for its last layer"
        )
    has_hidden = any(not layer.tools for layer in network.layers[:-1])
    if network.is_trained and (has_hidden or not has_labels):
        return "monte_carlo"
    return rung


def check_rung(settings: TrialSettings, task: Task) -> None:
    """Refuse a rung that was asked for and does not suffice.

    Raises:
        ConfigError: If hidden texts or free answers would have to be scored by the next token.
    """
    rung = settings.scoring.rung
    require(
        rung != "label" or effective_rung(settings, task, rung) == rung,
        f"scoring.rung=label gives log-probs of the next token alone, but training "
        f"{settings.network.name} on {task.name} scores whole texts; leave scoring.rung out, or "
        "set it to monte_carlo",
    )


def check_settings(settings: TrialSettings, task: Task) -> None:
    """Refuse settings that do not fit the task, before any call.

    Raises:
        ConfigError: If a split is empty, the batch does not fit into the training split, a class
            has no training example, or labels cannot be told apart.
    """
    for name in ("train", "dev", "test"):
        require(
            len(getattr(task.splits, name)) > 0,
            f"task {task.name} has an empty {name} split; check data.dir and data.max_{name}",
        )
    posterior, backward = settings.trainer.posterior, settings.backward_llm
    require(
        not posterior.use_guide_density or backward in (None, settings.llm),
        "trainer.posterior.use_guide_density weighs hidden samples by the density of the model "
        "that drew them, but backward_llm is another model than llm; leave one of the two out",
    )
    require(
        settings.judge_llm is None or task.asks_model,
        f"judge_llm is set, but answers of {task.name} are judged by {task.judge_name}; set "
        "task.judge=llm, or leave judge_llm out",
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
        _check_labels(task)


def _check_labels(task: Task) -> None:
    for label in task.labels:
        longer = [other for other in task.labels if other != label and other.startswith(label)]
        require(
            not longer,
            f"label {label!r} of {task.name} begins the label {longer[0] if longer else ''!r}, so "
            "their log-probs overlap; rename one",
        )
    answers = {example.target for example in task.splits.train}
    missing = [label for label in task.labels if label not in answers]
    require(
        # The options of one item have no meaning beyond it, so none has to occur.
        task.answer_kind is not AnswerKind.label or not missing,
        f"no training example of {task.name} has the label {', '.join(missing)}; raise "
        "data.max_train, or take the label away",
    )
    for example in task.splits.train:
        require(
            example.target in example.labels,
            f"item {example.id} of {task.name} has the answer {example.target!r}, which is not "
            f"among its labels ({', '.join(example.labels)}); correct the data",
        )
