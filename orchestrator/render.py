"""The exact requests that the initial network makes for one example; no call is made."""

from __future__ import annotations

import json
from dataclasses import replace

from dln_core.building import initial_network
from dln_core.config import LLMConfig, TrialSettings
from dln_core.errors import ConfigError
from dln_core.llm.adapters import GENERATIONS, Call, echo, label, prompt_logprobs, score
from dln_core.llm.adapters.providers import provider_of
from dln_core.llm.base import GenerateRequest, Request
from dln_core.llm.capabilities import Route, candidate_routes
from dln_core.tasks import load_task
from dln_core.types import Role
from orchestrator.planning.plan import Plan, PlannedTrial
from orchestrator.terminal.console import console, say

LOCAL_HOST = "127.0.0.1"


def print_requests(plan: Plan) -> None:
    """Print each layer's request on the first dev example, for every distinct network.

    Trials that differ in what no initial request shows, such as the trainer, are shown once.

    Raises:
        ConfigError: If ``llm.api`` and ``scoring.rung`` exclude each other.
    """
    shown: set[str] = set()
    for trial in plan.trials:
        example_id, text = _rendered(trial)
        if text not in shown:
            shown.add(text)
            console.rule(f"{trial.name}: {example_id}")
            say(text)


def _rendered(trial: PlannedTrial) -> tuple[str, str]:
    """The id of the first dev example, and what each layer sends for it."""
    settings = trial.settings
    task = load_task(settings.task, settings.data)
    network = initial_network(settings, task)
    if settings.llm.provider == "simulated":
        example = task.splits.dev[0]
        parts = [
            f"{_heading(name, request)}\n{_conversation(request)}"
            for name, request in network.requests(example, role=Role.dev)
        ]
        return example.id, "\n".join(parts)
    route = shown_route(settings)
    if not route.gives_labels:
        task = task.without_label_scores()
    example = task.splits.dev[0]
    parts = _notes(settings, route)
    for name, request in network.requests(example, role=Role.dev):
        calls = written(settings.llm, route, request)
        parts += [_heading(name, request), *(_http(settings.llm, call) for call in calls)]
    return example.id, "\n".join(parts)


def shown_route(settings: TrialSettings) -> Route:
    """The route whose requests are shown: the only one that the settings allow, or a common one.

    Raises:
        ConfigError: If the settings allow none.
    """
    routes = candidate_routes(settings.llm, settings.scoring.rung)
    if not routes:
        raise ConfigError(
            f"llm.api={settings.llm.api} and scoring.rung={settings.scoring.rung} exclude each "
            "other; leave one of them out"
        )
    # Most endpoints have no route for scoring; the local model's server does.
    common = ("score",) if settings.llm.provider == "local" else ("label", "echo")
    same_api = [route for route in routes if route.api == routes[0].api]
    return next((route for route in same_api if route.rung in common), same_api[-1])


def written(config: LLMConfig, route: Route, request: Request) -> list[Call]:
    """Write a request as the HTTP calls that it takes."""
    if isinstance(request, GenerateRequest):
        return [GENERATIONS[route.api].write(config, request)]
    match route.rung:
        case "score":
            return [score.write(config, route.api, request)]
        case "echo":
            return [echo.write(config, [request])]
        case "prompt_logprobs":
            context = prompt_logprobs.write_context(config, request)
            targets = request.targets
            return [context, *(prompt_logprobs.write(config, request, one) for one in targets)]
        case _:
            return [label.write(config, request)]


def _notes(settings: TrialSettings, route: Route) -> list[str]:
    chosen = {"llm.api": settings.llm.api, "scoring.rung": settings.scoring.rung}
    is_open = [name for name, value in chosen.items() if value == "auto"]
    if not is_open:
        return []
    return [
        f"A probe at the start decides {' and '.join(is_open)}; these requests are for "
        f"llm.api={route.api} scoring.rung={route.rung}."
    ]


def _http(config: LLMConfig, call: Call) -> str:
    base_url = config.base_url or f"http://{LOCAL_HOST}/v1"
    url = provider_of(config).url(replace(config, base_url=base_url), call)
    if config.base_url is None:
        # The run itself finds a free one.
        url = url.replace(LOCAL_HOST, f"{LOCAL_HOST}:PORT", 1)
    return f"POST {url}\n{json.dumps(call.body, ensure_ascii=False, indent=2)}"


def _heading(layer: str, request: Request) -> str:
    if isinstance(request, GenerateRequest):
        return f"[layer {layer}]"
    targets = " | ".join(request.targets)
    return f"[layer {layer}] nothing is written: how probable is each of these answers? {targets}"


def _conversation(request: Request) -> str:
    return "\n".join(f"<{turn.role}>\n{turn.text}" for turn in request.messages)
