"""The exact requests that the initial network makes for one example; no call is made."""

from __future__ import annotations

from dln_core.building import initial_network
from dln_core.tasks import load_task
from orchestrator.console import console, say
from orchestrator.plan import Plan


def print_requests(plan: Plan) -> None:
    """Print each layer's conversation on the first dev example, for every distinct network.

    Trials that differ in what no initial request shows, such as the trainer, are shown once.
    """
    shown: set[str] = set()
    for trial in plan.trials:
        task = load_task(trial.settings.task, trial.settings.data)
        example = task.splits.dev[0]
        layers = initial_network(trial.settings, task).render(example)
        text = "\n".join(
            f"[layer {name}]\n" + "\n".join(f"<{turn.role}>\n{turn.text}" for turn in messages)
            for name, messages in layers
        )
        if text not in shown:
            shown.add(text)
            console.rule(f"{trial.name}: {example.id}")
            say(text)
