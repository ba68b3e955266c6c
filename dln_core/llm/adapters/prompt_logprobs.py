"""The rung ``prompt_logprobs``: vLLM's chat route scores a target as the turn that it continues.

Context and target go through the same chat template as a generation does, so what is scored is the
text that the model would have written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dln_core.concurrency import map_bounded
from dln_core.config import LLMConfig
from dln_core.errors import ScoringError, TransientError
from dln_core.llm.adapters import chat
from dln_core.llm.adapters.calls import Call, Post
from dln_core.llm.adapters.logprobs import answers, scored
from dln_core.llm.adapters.parameters import scoring_body
from dln_core.llm.adapters.places import is_shown_as
from dln_core.llm.adapters.texts import as_chat
from dln_core.llm.adapters.usage import joined, read_usage
from dln_core.llm.base import Response, ScoreRequest

MAX_AT_ONCE = 16
# What of ``extra`` decides how a conversation is rendered.
_TEMPLATE_FIELDS = ("chat_template", "chat_template_kwargs", "add_special_tokens")


@dataclass(frozen=True, slots=True)
class _Token:
    id: int
    text: str
    logprob: float


async def score(config: LLMConfig, api: str, request: ScoreRequest, post: Post) -> Response:
    """Score every target by a call of its own; one more finds where the targets begin.

    Raises:
        ScoringError: If a target's tokens are not told apart from the context's.
    """
    context = read_tokens(await post(write_context(config, request)))

    async def one(target: str) -> Response:
        body = await post(write(config, request, target))
        return Response(scored((target,), (read(context, target, body),)), read_usage(body))

    return joined(await map_bounded(one, request.targets, bound=MAX_AT_ONCE))


def num_calls(request: ScoreRequest) -> int:
    """HTTP calls that a scoring takes."""
    return len(request.targets) + 1


def write_context(config: LLMConfig, request: ScoreRequest) -> Call:
    """Ask for the tokens of the rendered context, up to where an answer begins."""
    template = {name: config.extra[name] for name in _TEMPLATE_FIELDS if name in config.extra}
    messages = as_chat(request.messages)
    body = {"model": config.model, "messages": messages, "add_generation_prompt": True}
    return Call("tokenize", body | template, beside_v1=True)


def read_tokens(body: Any) -> list[int]:
    """Read the tokens of the context.

    Raises:
        TransientError: If there are none, which no context is without.
    """
    tokens = body.get("tokens") if isinstance(body, dict) else None
    if not isinstance(tokens, list) or {type(token) for token in tokens} != {int}:
        raise TransientError(f"the endpoint sent no tokens: {body!r:.200}")
    return list(tokens)


def write(config: LLMConfig, request: ScoreRequest, target: str) -> Call:
    """Ask for the log-probs of a conversation that ends with the target, unfinished."""
    values = {
        "max_tokens": 1,
        "temperature": 0,
        # Some versions take 0, the token alone, for none at all.
        "prompt_logprobs": 1,
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    turns = [*as_chat(request.messages), {"role": "assistant", "content": target}]
    return Call(chat.PATH, scoring_body(config, values) | {"messages": turns})


def read(context: Sequence[int], target: str, body: Any) -> tuple[float, ...]:
    """Read the target's log-probs: of the tokens behind those that the context has too.

    Raises:
        ScoringError: If the endpoint sent none, or these tokens do not make up the target.
    """
    try:
        answers(body, "choices")
        # Nothing precedes the first token, so it has no log-prob.
        tokens = [_token(entries) for entries in body["prompt_logprobs"][1:]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScoringError(f"the endpoint sent no prompt_logprobs: {body!r:.200}") from error
    shared = 0
    while shared < len(tokens) and context[shared + 1 : shared + 2] == [tokens[shared].id]:
        shared += 1
    decoded = "".join(token.text for token in tokens[shared:])
    if not is_shown_as(target, decoded):
        raise ScoringError(
            f"the rendered conversation ends with {decoded!r:.80} where {target!r:.80} was to be "
            "scored; the chat template writes answers otherwise than it asks for them (thinking "
            "can often be switched off by llm.extra.chat_template_kwargs)"
        )
    return tuple(token.logprob for token in tokens[shared:])


def _token(entries: Mapping[str, Mapping[str, Any]]) -> _Token:
    # Beside the prompt's own token stands the most probable one, unless they are the same.
    token, entry = max(entries.items(), key=lambda item: int(item[1].get("rank") or 1))
    return _Token(int(token), str(entry["decoded_token"]), float(entry["logprob"]))
