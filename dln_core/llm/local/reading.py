"""Reading whole requests: what is asked of the engine, in tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.fields import (
    BadRequest,
    Body,
    read_flag,
    read_integer,
    read_messages,
    read_number,
    read_prompts,
    read_strings,
)
from dln_core.llm.local.generation import GenerateJob
from dln_core.llm.local.scoring import ScoreJob
from dln_core.llm.local.tokens import Tokens

_MAX_CHOICES = 128
_MAX_LOGPROBS = 5
_MAX_TEMPERATURE = 100.0
_CHAT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A request for completions, checked and in tokens.

    Attributes:
        prompts: The prompts.
        jobs: A job for every choice of every prompt, in the order of the answer.
        num_choices: Choices of each prompt.
        echo: Whether the answer repeats the prompt.
        logprobs: Whether log-probs are wanted.
    """

    prompts: tuple[Tokens, ...]
    jobs: tuple[GenerateJob, ...]
    num_choices: int
    echo: bool
    logprobs: bool


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

    def completion(self, body: Body) -> CompletionRequest:
        """Read the body of ``POST /v1/completions``.

        Raises:
            BadRequest: If it cannot be answered as it is.
        """
        self._check_model(body)
        prompts = tuple(self._encode(prompt) for prompt in read_prompts(body))
        wants_logprobs = body.get("logprobs") is not None
        read_integer(body, "logprobs", 0, 0, _MAX_LOGPROBS)
        num_choices = read_integer(body, "n", 1, 1, _MAX_CHOICES)
        max_tokens = read_integer(body, "max_tokens", 16, 0, self._context_length)
        jobs = self._jobs(body, prompts, num_choices, max_tokens)
        return CompletionRequest(
            prompts, jobs, num_choices, read_flag(body, "echo"), wants_logprobs
        )

    def chat(self, body: Body) -> tuple[GenerateJob, ...]:
        """Read the body of ``POST /v1/chat/completions``; return a job for every choice.

        Raises:
            BadRequest: If it cannot be answered as it is.
        """
        self._check_model(body)
        context = self._render(body)
        room = max(1, self._context_length - len(context))
        name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        default = min(_CHAT_MAX_TOKENS, room)
        max_tokens = read_integer(body, name, default, 1, self._context_length)
        num_choices = read_integer(body, "n", 1, 1, _MAX_CHOICES)
        return self._jobs(body, (context,), num_choices, max_tokens)

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

    def _jobs(
        self, body: Body, contexts: Sequence[Tokens], num_choices: int, max_tokens: int
    ) -> tuple[GenerateJob, ...]:
        """Return a job for every choice of every prompt, in the order of the answer."""
        temperature = read_number(body, "temperature", 1.0, 0.0, _MAX_TEMPERATURE)
        top_p = read_number(body, "top_p", 1.0, 0.0, 1.0)
        seed = read_integer(body, "seed", secrets.randbits(63), -(1 << 63), (1 << 64) - 1)
        stop = read_strings(body, "stop")
        repeated = [context for context in contexts for _ in range(num_choices)]
        for context in contexts:
            self._check_length(len(context), max_tokens)
        return tuple(
            GenerateJob(
                context=context,
                max_tokens=max_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=(seed % (1 << 64), index),
                stop=stop,
            )
            for index, context in enumerate(repeated)
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
