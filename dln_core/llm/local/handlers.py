"""What the server does for each route: read a request, ask the engine, shape the answer."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
import numpy as np
from anyio.abc import TaskGroup

from dln_core.llm.local.batching import MicroBatcher
from dln_core.llm.local.echo import Echo
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.generation import Generated, GenerateJob
from dln_core.llm.local.replies import TokenLogprobs, envelope, usage
from dln_core.llm.local.requests import (
    BadRequest,
    Body,
    read_flag,
    read_integer,
    read_messages,
    read_number,
    read_prompts,
    read_strings,
)
from dln_core.llm.local.scoring import ScoreJob
from dln_core.llm.local.tokens import Tokens

_MAX_CHOICES = 128
_MAX_TEMPERATURE = 100.0
_CHAT_MAX_TOKENS = 512


@dataclass(frozen=True, slots=True)
class _Completion:
    """A request for completions, checked and in tokens."""

    prompts: tuple[Tokens, ...]
    jobs: tuple[GenerateJob, ...]
    num_choices: int
    echo: bool
    logprobs: bool


class Handlers:
    """The routes of one engine.

    Args:
        engine: What answers.
        name: Name of the model in requests and answers.
    """

    def __init__(self, engine: LocalEngine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._scoring = MicroBatcher(engine.scorer.pick, engine.scorer.score)
        self._generation = MicroBatcher(engine.generator.pick, engine.generator.generate)
        self._echo: MicroBatcher[Tokens, Echo] = MicroBatcher(
            lambda waiting: [0], lambda texts: [engine.echoer.echo(text) for text in texts]
        )

    def start(self, tasks: TaskGroup) -> None:
        """Start the workers, one for each ability of the engine."""
        for batcher in (self._scoring, self._generation, self._echo):
            tasks.start_soon(batcher.serve)

    async def models(self) -> Body:
        """Answer ``GET /v1/models``."""
        model = {"id": self.name, "object": "model", "created": 0, "owned_by": "local"}
        model["context_length"] = self._engine.context_length
        return {"object": "list", "data": [model]}

    async def completions(self, body: Body) -> Body:
        """Answer ``POST /v1/completions``."""
        asked = await anyio.to_thread.run_sync(self._read_completion, body)
        echoes: dict[int, Echo] = {}
        generated: dict[int, Generated] = {}
        async with anyio.create_task_group() as tasks:
            if asked.echo and asked.logprobs:
                for index, prompt in enumerate(asked.prompts):
                    tasks.start_soon(_keep, self._echo, prompt, echoes, index)
            for index, job in enumerate(asked.jobs):
                if job.max_tokens:
                    tasks.start_soon(_keep, self._generation, job, generated, index)
        choices = [
            self._completion_choice(asked, index, echoes, generated.get(index))
            for index in range(len(asked.jobs))
        ]
        prompt_tokens = sum(len(prompt) for prompt in asked.prompts)
        counted = usage(prompt_tokens, sum(made.num_sampled for made in generated.values()))
        head = envelope("cmpl", "text_completion", self.name)
        return {**head, "choices": choices, "usage": counted}

    async def chat(self, body: Body) -> Body:
        """Answer ``POST /v1/chat/completions``."""
        jobs = await anyio.to_thread.run_sync(self._read_chat, body)
        generated: dict[int, Generated] = {}
        async with anyio.create_task_group() as tasks:
            for index, job in enumerate(jobs):
                tasks.start_soon(_keep, self._generation, job, generated, index)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": generated[index].text},
                "logprobs": None,
                "finish_reason": generated[index].finish_reason,
            }
            for index in range(len(jobs))
        ]
        sampled = sum(made.num_sampled for made in generated.values())
        head = envelope("chatcmpl", "chat.completion", self.name)
        return {**head, "choices": choices, "usage": usage(len(jobs[0].context), sampled)}

    async def score(self, body: Body) -> Body:
        """Answer ``POST /v1/score``."""
        texts, job = await anyio.to_thread.run_sync(self._read_score, body)
        logprobs = await self._scoring.submit(job)
        scores = [
            {
                "target": text,
                "tokens": self._engine.tokenizer.names(target),
                "token_logprobs": values,
            }
            for text, target, values in zip(texts, job.targets, logprobs, strict=True)
        ]
        counted = usage(len(job.context), sum(len(target) for target in job.targets))
        return {"object": "score", "model": self.name, "scores": scores, "usage": counted}

    def _read_completion(self, body: Body) -> _Completion:
        self._check_model(body)
        prompts = tuple(self._encode(prompt) for prompt in read_prompts(body))
        top = read_integer(body, "logprobs", 0, 0, 5)
        num_choices = read_integer(body, "n", 1, 1, _MAX_CHOICES)
        max_tokens = read_integer(body, "max_tokens", 16, 0, self._engine.context_length)
        jobs = self._jobs(body, prompts, num_choices, max_tokens)
        logprobs = body.get("logprobs") is not None and top >= 0
        return _Completion(prompts, jobs, num_choices, read_flag(body, "echo"), logprobs)

    def _read_chat(self, body: Body) -> tuple[GenerateJob, ...]:
        self._check_model(body)
        context = self._render(body)
        room = max(1, self._engine.context_length - len(context))
        name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
        default = min(_CHAT_MAX_TOKENS, room)
        max_tokens = read_integer(body, name, default, 1, self._engine.context_length)
        num_choices = read_integer(body, "n", 1, 1, _MAX_CHOICES)
        return self._jobs(body, (context,), num_choices, max_tokens)

    def _read_score(self, body: Body) -> tuple[tuple[str, ...], ScoreJob]:
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
        targets = tuple(self._engine.tokenizer.encode(text) for text in texts)
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

    def _completion_choice(
        self, asked: _Completion, index: int, echoes: dict[int, Echo], made: Generated | None
    ) -> dict[str, Any]:
        """Shape one choice of a completion."""
        place = index // asked.num_choices
        prompt = asked.prompts[place]
        logprobs = TokenLogprobs(self._engine.tokenizer)
        text = ""
        if asked.echo:
            text = self._engine.tokenizer.decode(prompt.tolist())
            if place in echoes:
                logprobs.add_echo(prompt, echoes[place])
        if made is not None:
            text += made.text
            logprobs.add_generated(made)
        return {
            "index": index,
            "text": text,
            "logprobs": logprobs.to_dict() if asked.logprobs else None,
            "finish_reason": "length" if made is None else made.finish_reason,
        }

    def _check_model(self, body: Body) -> None:
        model = body.get("model", self.name)
        if model != self.name:
            message = f"the model {model!r} is not served here; ask for {self.name!r}"
            raise BadRequest(message, "model", "model_not_found", 404)

    def _check_length(self, context: int, following: int) -> None:
        limit = self._engine.context_length
        if context + following > limit:
            raise BadRequest(
                f"this model's context is {limit} tokens, but the request has {context} and asks "
                f"for {following} more; shorten the prompt or what follows it",
                code="context_length_exceeded",
            )

    def _render(self, body: Body) -> Tokens:
        """Return the tokens of a conversation."""
        return self._engine.tokenizer.encode(
            self._engine.tokenizer.render_chat(read_messages(body))
        )

    def _encode(self, prompt: str | list[int]) -> Tokens:
        """Return the tokens of a prompt that may be tokens already."""
        if isinstance(prompt, str):
            return self._engine.tokenizer.encode(prompt)
        size = len(self._engine.tokenizer)
        if not all(0 <= token < size for token in prompt):
            raise BadRequest(f"tokens of a prompt must be from 0 to {size - 1}", "prompt")
        return np.array(prompt, dtype=np.int32)


async def _keep[Job, Answer](
    batcher: MicroBatcher[Job, Answer], job: Job, answers: dict[int, Answer], index: int
) -> None:
    """Put the answer to a job into its place."""
    answers[index] = await batcher.submit(job)
