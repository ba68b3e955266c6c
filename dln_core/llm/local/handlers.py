"""What the server does for each route: read a request, ask the engine, shape the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio.to_thread
from anyio.abc import TaskGroup

from dln_core.llm.local.batching import MicroBatcher
from dln_core.llm.local.echo import Echo
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.fields import Body
from dln_core.llm.local.generation import Generated
from dln_core.llm.local.reading import CompletionRequest, RequestReader
from dln_core.llm.local.replies import TokenLogprobs, envelope, usage
from dln_core.llm.local.tokens import Tokens


class Handlers:
    """The routes of one engine.

    Args:
        engine: What answers.
        name: Name of the model in requests and answers.
    """

    def __init__(self, engine: LocalEngine, name: str) -> None:
        self.name = name
        self._engine = engine
        self._read = RequestReader(engine, name)
        self._scoring = MicroBatcher(engine.scorer.pick, engine.scorer.score)
        self._generation = MicroBatcher(engine.generator.pick, engine.generator.generate)
        self._echo: MicroBatcher[Tokens, Echo] = MicroBatcher(
            lambda waiting: [0], lambda texts: [engine.echoer.echo(text) for text in texts]
        )

    def start(self, tasks: TaskGroup) -> None:
        """Start the workers, one for each ability of the engine."""
        for batcher in (self._scoring, self._generation, self._echo):
            tasks.start_soon(batcher.serve)

    def models(self) -> Body:
        """Answer ``GET /v1/models``."""
        model: Body = {"id": self.name, "object": "model", "created": 0, "owned_by": "local"}
        model["context_length"] = self._engine.context_length
        return {"object": "list", "data": [model]}

    async def completions(self, body: Body) -> Body:
        """Answer ``POST /v1/completions``."""
        asked = await anyio.to_thread.run_sync(self._read.completion, body)
        echoes = await self._echo.submit(asked.prompts if asked.echo and asked.logprobs else ())
        generated = await self._generation.submit([job for job in asked.jobs if job.max_tokens])
        choices = [
            self._completion_choice(asked, index, echoes, generated)
            for index in range(len(asked.jobs))
        ]
        prompt_tokens = sum(len(prompt) for prompt in asked.prompts)
        counted = usage(prompt_tokens, sum(made.num_sampled for made in generated))
        head = envelope("cmpl", "text_completion", self.name)
        return {**head, "choices": choices, "usage": counted}

    async def chat(self, body: Body) -> Body:
        """Answer ``POST /v1/chat/completions``."""
        jobs = await anyio.to_thread.run_sync(self._read.chat, body)
        generated = await self._generation.submit(jobs)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": made.text},
                "logprobs": None,
                "finish_reason": made.finish_reason,
            }
            for index, made in enumerate(generated)
        ]
        sampled = sum(made.num_sampled for made in generated)
        head = envelope("chatcmpl", "chat.completion", self.name)
        return {**head, "choices": choices, "usage": usage(len(jobs[0].context), sampled)}

    async def score(self, body: Body) -> Body:
        """Answer ``POST /v1/score``."""
        texts, job = await anyio.to_thread.run_sync(self._read.score, body)
        logprobs = (await self._scoring.submit([job]))[0]
        scores = [
            {
                "target": text,
                "tokens": [self._engine.tokenizer.name(token) for token in target],
                "token_logprobs": values,
            }
            for text, target, values in zip(texts, job.targets, logprobs, strict=True)
        ]
        counted = usage(len(job.context), sum(len(target) for target in job.targets))
        return {"object": "score", "model": self.name, "scores": scores, "usage": counted}

    def _completion_choice(
        self,
        asked: CompletionRequest,
        index: int,
        echoes: Sequence[Echo],
        generated: Sequence[Generated],
    ) -> dict[str, Any]:
        """Shape one choice of a completion."""
        place = index // asked.num_choices
        prompt = asked.prompts[place]
        logprobs = TokenLogprobs(self._engine.tokenizer)
        text = ""
        if asked.echo:
            text = self._engine.tokenizer.decode(prompt.tolist())
            if echoes:
                logprobs.add_echo(prompt, echoes[place])
        finish_reason = "length"
        if generated:
            text += generated[index].text
            finish_reason = generated[index].finish_reason
            logprobs.add_generated(generated[index])
        return {
            "index": index,
            "text": text,
            "logprobs": logprobs.to_dict() if asked.logprobs else None,
            "finish_reason": finish_reason,
        }
