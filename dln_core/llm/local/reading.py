"""Reading whole requests: what is asked of the engine, in tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.generation import GenerateJob
from dln_core.llm.local.scoring import ScoreJob
from dln_core.llm.local.tokens import Tokens
from dln_core.llm.serving.fields import (
    BadRequest,
    Body,
    read_flag,
    read_integer,
    read_messages,
    read_number,
    read_prompts,
    read_strings,
)

_MAX_CHOICES = 128
_MAX_LOGPROBS = 20
_MAX_TEMPERATURE = 100.0
_CHAT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A request for continuations, checked and in tokens.

    Attributes:
        prompts: The prompts.
        jobs: A job for every choice of every prompt, in the order of the answer; none if nothing
            is to be generated.
        num_choices: Choices of each prompt.
        echo: Whether the answer repeats the prompt.
        logprobs: Whether log-probs are wanted.
        num_top: How many of the most probable tokens are named at each place.
        include_usage: Whether a stream ends with what was used.
    """

    prompts: tuple[Tokens, ...]
    jobs: tuple[GenerateJob, ...]
    num_choices: int
    echo: bool
    logprobs: bool
    num_top: int
    include_usage: bool


class RequestReader:
    """Reads the bodies of requests to one engine; blocking, as it tokenises.

    Args:
        engine: What will answer.
        name: The model that requests must ask for.
    """

    def __init__(self, engine: LocalEngine, name: str) -> None:
        self._name = name
        self._tokenizer = engine.tokenizer
        self._context_length = engine.context_length

    def completion(self, body: Body) -> GenerateRequest:
        """Read the body of ``POST /v1/completions``.

        Raises:
            BadRequest: If it cannot be answered as it is.
        """
        self._check_model(body)
        prompts = tuple(self._encode(prompt) for prompt in read_prompts(body))
        max_tokens = read_integer(body, "max_tokens", 16, 0, self._context_length)
        wants_logprobs = body.get("logprobs") is not None
        num_top = read_integer(body, "logprobs", 0, 0, _MAX_LOGPROBS)
        # The sampled token's own log-prob comes with the best one's, as in OpenAI's answers.
        num_top = max(1, num_top) if wants_logprobs else 0
        if read_flag(body, "stream") and (read_flag(body, "echo") or max_tokens == 0):
            raise BadRequest("a stream needs max_tokens of at least 1 and no echo", "stream")
        return self._request(body, prompts, max_tokens, num_top, wants_logprobs)

    def chat(self, body: Body) -> GenerateRequest:
        """Read the body of ``POST /v1/chat/completions``.

        Raises:
            BadRequest: If it cannot be answered as it is.
        """
        self._check_model(body)
        context = self._render(body)
        room = max(1, self._context_length - len(context))
        name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        default = min(_CHAT_MAX_TOKENS, room)
        max_tokens = read_integer(body, name, default, 1, self._context_length)
        wants_logprobs = read_flag(body, "logprobs")
        num_top = read_integer(body, "top_logprobs", 0, 0, _MAX_LOGPROBS)
        if num_top and not wants_logprobs:
            raise BadRequest("top_logprobs needs logprobs: true", "top_logprobs")
        return self._request(body, (context,), max_tokens, num_top, wants_logprobs)

    def score(self, body: Body) -> tuple[tuple[str, ...], ScoreJob]:
        """Read the body of ``POST /v1/score``; return the targets as texts and as a job.

        Raises:
            BadRequest: If it cannot be answered as it is.
        """
        self._check_model(body)
        if ("prompt" in body) == ("messages" in body):
            raise BadRequest("give either messages or a prompt to score after", "messages")
        if "messages" in body:
            context = self._render(body)
        else:
            prompts = read_prompts(body)
            if len(prompts) != 1:
                raise BadRequest("a score has one prompt; send one request each", "prompt")
            context = self._encode(prompts[0])
        texts = read_strings(body, "targets")
        if not texts:
            raise BadRequest("targets is missing or empty; give at least one text", "targets")
        targets = tuple(self._tokenizer.encode(text) for text in texts)
        self._check_length(len(context), max(len(target) for target in targets))
        return texts, ScoreJob(context, targets)

    def _request(
        self,
        body: Body,
        prompts: Sequence[Tokens],
        max_tokens: int,
        num_top: int,
        logprobs: bool,
    ) -> GenerateRequest:
        """Read what both kinds of generation have in common."""
        num_choices = read_integer(body, "n", 1, 1, _MAX_CHOICES)
        options = body.get("stream_options")
        return GenerateRequest(
            prompts=tuple(prompts),
            jobs=self._jobs(body, prompts, num_choices, max_tokens, num_top),
            num_choices=num_choices,
            echo=read_flag(body, "echo"),
            logprobs=logprobs,
            num_top=num_top,
            include_usage=isinstance(options, dict) and read_flag(options, "include_usage"),
        )

    def _jobs(
        self,
        body: Body,
        contexts: Sequence[Tokens],
        num_choices: int,
        max_tokens: int,
        num_top: int,
    ) -> tuple[GenerateJob, ...]:
        """Return a job for every choice of every prompt, in the order of the answer."""
        temperature = read_number(body, "temperature", 1.0, 0.0, _MAX_TEMPERATURE)
        top_p = read_number(body, "top_p", 1.0, 0.0, 1.0)
        seed = read_integer(body, "seed", secrets.randbits(63), -(1 << 63), (1 << 64) - 1)
        stop = read_strings(body, "stop")
        for context in contexts:
            self._check_length(len(context), max_tokens)
        repeated = [context for context in contexts for _ in range(num_choices)]
        return tuple(
            GenerateJob(
                context=context,
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=(seed % (1 << 64), index),
                stop=stop,
                num_top=num_top,
            )
            for index, context in enumerate(repeated if max_tokens else ())
        )

    def _check_model(self, body: Body) -> None:
        model = body.get("model", self._name)
        if model != self._name:
            message = f"the model {model!r} is not served here; ask for {self._name!r}"
            raise BadRequest(message, "model", "model_not_found", 404)

    def _check_length(self, context: int, following: int) -> None:
        limit = self._context_length
        if context + following > limit:
            raise BadRequest(
                f"this model's context is {limit} tokens, but the request has {context} and asks "
                f"for {following} more; shorten the prompt or what follows it",
                code="context_length_exceeded",
            )

    def _render(self, body: Body) -> Tokens:
        """Return the tokens of a conversation."""
        return self._tokenizer.encode(self._tokenizer.render_chat(read_messages(body)))

    def _encode(self, prompt: str | list[int]) -> Tokens:
        """Return the tokens of a prompt that may be tokens already."""
        if isinstance(prompt, str):
            return self._tokenizer.encode(prompt)
        size = len(self._tokenizer)
        if not all(0 <= token < size for token in prompt):
            raise BadRequest(f"tokens of a prompt must be from 0 to {size - 1}", "prompt")
        return np.array(prompt, dtype=np.int32)
