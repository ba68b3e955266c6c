"""What a request asks for: read from its body, whatever the route calls the fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dln_core.llm.base import GenerateRequest
from dln_core.llm.serving.fields import (
    BadRequest,
    Body,
    read_flag,
    read_integer,
    read_messages,
    read_number,
    read_strings,
)
from dln_core.llm.simulated.draws import digest
from dln_core.llm.simulated.model import World, num_words, sample
from dln_core.llm.simulated.words import Conversation, split_words
from dln_core.types import Message

MOST_TOKENS = 1 << 20
MOST_CHOICES = 128


@dataclass(frozen=True, slots=True)
class Spoken:
    """A text that was generated.

    Attributes:
        text: It, cut to what was asked for.
        finish_reason: ``stop`` or ``length``.
        num_tokens: Words that were generated.
        distribution: What it was drawn from.
    """

    text: str
    finish_reason: str
    num_tokens: int
    distribution: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How texts are drawn.

    Attributes:
        max_tokens: Bound on the words of a text.
        temperature: 0 takes the most probable text.
        seed: Seed of the request's texts.
        stop: Strings that end a text.
        num_choices: Texts for each prompt.
    """

    max_tokens: int
    temperature: float
    seed: int
    stop: tuple[str, ...] = ()
    num_choices: int = 1

    @classmethod
    def read(cls, body: Body, *, unseeded: int, default_tokens: int) -> Sampling:
        """Read OpenAI's fields.

        Args:
            body: The request.
            unseeded: Seed of a request that gives none.
            default_tokens: Bound of a request that gives none.

        Raises:
            BadRequest: If a field is wrong.
        """
        limit = "max_tokens" if body.get("max_tokens") is not None else "max_completion_tokens"
        # A seed may have any sign; which one a request without a seed gets is drawn.
        has_seed = body.get("seed") is not None
        return cls(
            max_tokens=read_integer(body, limit, default_tokens, 0, MOST_TOKENS),
            temperature=read_number(body, "temperature", 1.0, 0.0, 2.0),
            seed=read_integer(body, "seed", 0, -(2**63), 2**64) if has_seed else unseeded,
            stop=read_strings(body, "stop"),
            num_choices=read_integer(body, "n", 1, 1, MOST_CHOICES),
        )

    def request(self, messages: Conversation, choice: int) -> GenerateRequest:
        """The request that the world is asked for one of the choices."""
        return GenerateRequest(
            messages=messages,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            # The first choice is what the model inside the process answers to this seed.
            seed=digest(self.seed, choice) if choice else self.seed,
        )

    def speak(self, world: World, messages: Conversation, choice: int) -> Spoken:
        """Generate one text: what the model inside the process says, cut to what was asked for."""
        if self.max_tokens == 0:
            return Spoken("", "length", 0)
        request = self.request(messages, choice)
        distribution = world.distribution(request)
        text = sample(distribution, request)
        ends = [place for stop in self.stop if (place := text.find(stop)) >= 0]
        text = text[: min(ends)].strip() if ends else text
        words = split_words(text)
        if len(words) > self.max_tokens:
            text = "".join(words[: self.max_tokens]).strip()
            return Spoken(text, "length", self.max_tokens, distribution)
        return Spoken(text, "stop", num_words(text), distribution)


def read_conversation(body: Body) -> Conversation:
    """Read the turns of a conversation.

    Raises:
        BadRequest: If there are none or one lacks a known role or a text.
    """
    return tuple(Message(turn["role"], turn["content"]) for turn in read_messages(body))


def read_texts(body: Body) -> list[str]:
    """Read the prompts of a completion.

    Raises:
        BadRequest: If there is none, or one is no text.
    """
    value: Any = body.get("prompt")
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise BadRequest("prompt must be a string or a list of at least one string", "prompt")
    return texts


def read_template(body: Body) -> tuple[bool, bool]:
    """Read whether a conversation's last turn is closed, and whether an answer is opened.

    Raises:
        BadRequest: If both the last turn and a new one are to be continued, as vLLM refuses it.
    """
    answers = body.get("add_generation_prompt") is None or read_flag(body, "add_generation_prompt")
    continues = read_flag(body, "continue_final_message")
    if continues and answers:
        raise BadRequest(
            "continue_final_message and add_generation_prompt exclude each other; "
            "send add_generation_prompt as false",
            "continue_final_message",
        )
    return not continues, answers
