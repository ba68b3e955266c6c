"""What the server does for each route: read a request, ask the engine, shape the answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import anyio.to_thread
from anyio.abc import TaskGroup

from dln_core.llm.local.echo import Echo, EchoTask
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.generation import NOTHING, Generated, GenerateTask
from dln_core.llm.local.reading import GenerateRequest, RequestReader
from dln_core.llm.local.replies import TokenLogprobs, chat_logprobs, envelope, usage
from dln_core.llm.local.scheduler import Task
from dln_core.llm.local.scoring import ScoreTask
from dln_core.llm.local.worker import Worker
from dln_core.llm.serving.fields import Body

# Shapes a choice, given its place, what there is of it and what there was before.
Shape = Callable[[int, Generated, Generated], Body]


class Handlers:
    """The routes of one engine.

    Args:
        engine: What answers.
        name: Name of the model in requests and answers.
    """

    def __init__(self, engine: LocalEngine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._tokenizer = engine.tokenizer
        self._read = RequestReader(engine, name)
        self._worker = Worker(engine.scheduler)

    def start(self, tasks: TaskGroup) -> None:
        """Start what runs the engine."""
        tasks.start_soon(self._worker.serve)

    def models(self) -> Body:
        """Answer ``GET /v1/models``."""
        model: Body = {"id": self.name, "object": "model", "created": 0, "owned_by": "local"}
        model["context_length"] = self._engine.context_length
        return {"object": "list", "data": [model]}

    async def completions(self, body: Body) -> Body:
        """Answer ``POST /v1/completions``."""
        asked = await anyio.to_thread.run_sync(self._read.completion, body)
        echoed = asked.prompts if asked.echo and asked.logprobs else ()
        tasks: list[Task[Any]] = [EchoTask(prompt, asked.num_top) for prompt in echoed]
        answers = await self._worker.run([*tasks, *self._tasks(asked)])
        echoes, generated = answers[: len(tasks)], answers[len(tasks) :]
        choices = [
            self._completion_choice(asked, index, echoes, generated)
            for index in range(len(asked.prompts) * asked.num_choices)
        ]
        head = envelope("cmpl", "text_completion", self.name)
        return {**head, "choices": choices, "usage": _used(asked, generated)}

    async def chat(self, body: Body) -> Body:
        """Answer ``POST /v1/chat/completions``."""
        asked = await anyio.to_thread.run_sync(self._read.chat, body)
        generated = await self._worker.run(self._tasks(asked))
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": made.text},
                "logprobs": chat_logprobs(self._tokenizer, made) if asked.logprobs else None,
                "finish_reason": made.finish_reason,
            }
            for index, made in enumerate(generated)
        ]
        head = envelope("chatcmpl", "chat.completion", self.name)
        return {**head, "choices": choices, "usage": _used(asked, generated)}

    async def score(self, body: Body) -> Body:
        """Answer ``POST /v1/score``."""
        texts, job = await anyio.to_thread.run_sync(self._read.score, body)
        logprobs = (await self._worker.run([ScoreTask(job)]))[0]
        scores = [
            {
                "target": text,
                "tokens": [self._tokenizer.name(token) for token in target],
                "token_logprobs": values,
            }
            for text, target, values in zip(texts, job.targets, logprobs, strict=True)
        ]
        counted = usage(len(job.context), sum(len(target) for target in job.targets))
        return {"object": "score", "model": self.name, "scores": scores, "usage": counted}

    async def stream_completions(self, body: Body) -> AsyncGenerator[Body, None]:
        """Answer ``POST /v1/completions`` piece by piece."""
        asked = await anyio.to_thread.run_sync(self._read.completion, body)

        def shape(index: int, made: Generated, earlier: Generated) -> Body:
            logprobs = TokenLogprobs(self._tokenizer)
            logprobs.add(made.tokens, made.logprobs, made.top)
            part = logprobs.to_dict(len(earlier.tokens)) if asked.logprobs else None
            return {"index": index, "text": made.after(earlier).text, "logprobs": part}

        head = envelope("cmpl", "text_completion", self.name)
        async with aclosing(self._stream(asked, head, shape)) as pieces:
            async for piece in pieces:
                yield piece

    async def stream_chat(self, body: Body) -> AsyncGenerator[Body, None]:
        """Answer ``POST /v1/chat/completions`` piece by piece."""
        asked = await anyio.to_thread.run_sync(self._read.chat, body)

        def shape(index: int, made: Generated, earlier: Generated) -> Body:
            part = made.after(earlier)
            role = {"role": "assistant"} if earlier is NOTHING else {}
            logprobs = chat_logprobs(self._tokenizer, part) if asked.logprobs else None
            return {"index": index, "delta": {**role, "content": part.text}, "logprobs": logprobs}

        head = envelope("chatcmpl", "chat.completion.chunk", self.name)
        async with aclosing(self._stream(asked, head, shape)) as pieces:
            async for piece in pieces:
                yield piece

    async def _stream(
        self, asked: GenerateRequest, head: Body, shape: Shape
    ) -> AsyncGenerator[Body, None]:
        """Yield a piece for every choice that has grown, after every step."""
        known = [NOTHING] * len(asked.jobs)
        async with aclosing(self._worker.follow(self._tasks(asked))) as states:
            async for state in states:
                for index, (made, earlier) in enumerate(zip(state, known, strict=True)):
                    if made.num_sampled > earlier.num_sampled:
                        end = {"finish_reason": made.finish_reason or None}
                        yield {**head, "choices": [{**shape(index, made, earlier), **end}]}
                        known[index] = made
        if asked.include_usage:
            yield {**head, "choices": [], "usage": _used(asked, known)}

    def _tasks(self, asked: GenerateRequest) -> list[GenerateTask]:
        return [GenerateTask(job, self._tokenizer) for job in asked.jobs]

    def _completion_choice(
        self,
        asked: GenerateRequest,
        index: int,
        echoes: Sequence[Echo],
        generated: Sequence[Generated],
    ) -> Body:
        """Shape one choice of a completion."""
        place = index // asked.num_choices
        prompt = asked.prompts[place].tolist()
        logprobs = TokenLogprobs(self._tokenizer)
        text = self._tokenizer.decode(prompt) if asked.echo else ""
        if echoes:
            logprobs.add(prompt, echoes[place].logprobs, echoes[place].top)
        finish_reason = "length"
        if generated:
            made = generated[index]
            text += made.text
            finish_reason = made.finish_reason
            logprobs.add(made.tokens, made.logprobs, made.top)
        return {
            "index": index,
            "text": text,
            "logprobs": logprobs.to_dict() if asked.logprobs else None,
            "finish_reason": finish_reason,
        }


def _used(asked: GenerateRequest, generated: Sequence[Generated]) -> dict[str, int]:
    """Count the tokens of the prompts and of what was generated."""
    prompt_tokens = sum(len(prompt) for prompt in asked.prompts)
    return usage(prompt_tokens, sum(made.num_sampled for made in generated))
