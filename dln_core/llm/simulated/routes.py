"""What the simulated server answers on OpenAI's routes, vLLM's and this project's own."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence

from dln_core.llm.base import ScoreRequest
from dln_core.llm.serving.fields import BadRequest, Body, read_flag, read_integer, read_strings
from dln_core.llm.simulated.asking import (
    Sampling,
    Spoken,
    read_conversation,
    read_template,
    read_texts,
)
from dln_core.llm.simulated.draws import digest
from dln_core.llm.simulated.model import World, num_words, scored
from dln_core.llm.simulated.shapes import (
    Answer,
    chat_logprobs,
    completion_logprobs,
    prompt_logprobs,
    usage_part,
)
from dln_core.llm.simulated.words import (
    Conversation,
    Token,
    chat_words,
    read_chat,
    read_prompt,
    split_words,
    spoken_tokens,
    token_id,
)
from dln_core.types import Message, Usage

COMPLETION_TOKENS = 16
CHAT_TOKENS = 4096
MOST_TOP_LOGPROBS = 20
CONTEXT_TOKENS = 131_072
CACHED_CONTEXTS = 4096
PROMPT = "prompt_logprobs"


class Routes:
    """The answers of one world; each is a function of the body and the number of its arrival.

    Args:
        world: What the served model believes.
        name: Name of the model in answers.
        seed: Decides what requests without a seed are answered.
    """

    def __init__(self, world: World, name: str, seed: int = 0) -> None:
        self.name = name
        self.world = world
        self._seed = seed
        # Scorings ask again and again for the same contexts.
        cached = functools.lru_cache(CACHED_CONTEXTS)
        self._following = cached(self._distribution)
        self._after = cached(lambda text: self._distribution((Message("user", text),)))

    def completions(self, body: Body, number: int) -> Answer:
        """Answer ``POST /v1/completions``."""
        prompts, sampling = read_texts(body), self.sampling(body, number, COMPLETION_TOKENS)
        choices: list[Body] = []
        sequences: list[int] = []
        for prompt in prompts:
            # The white space at a prompt's end belongs to the word that follows.
            messages = (Message("user", prompt.rstrip()),)
            heard = self._heard(prompt, body)
            for choice in range(sampling.num_choices):
                made = sampling.speak(self.world, messages, choice)
                shape = _completion(prompt, heard, made, body)
                choices.append({"index": len(choices), **shape})
                sequences.append(made.num_tokens)
        usage = Usage(sum(map(num_words, prompts)), sum(sequences))
        return self._answer("text_completion", number, choices, usage, sequences)

    def chat(self, body: Body, number: int) -> Answer:
        """Answer ``POST /v1/chat/completions``."""
        messages, (ends, answers) = read_conversation(body), read_template(body)
        sampling = self.sampling(body, number, CHAT_TOKENS)
        # A text of the world is whole: after it comes nothing but its end, which is a token too.
        is_whole = not ends and messages[-1].role == "assistant"
        made = [
            Spoken("", "stop", min(1, sampling.max_tokens))
            if is_whole
            else sampling.speak(self.world, messages, choice)
            for choice in range(sampling.num_choices)
        ]
        choices = [{"index": place, **_turn(one, body)} for place, one in enumerate(made)]
        sequences = [one.num_tokens for one in made]
        usage = Usage(count_words(messages), sum(sequences))
        answer = self._answer("chat.completion", number, choices, usage, sequences)
        if body.get(PROMPT) is not None:
            heard = read_chat(self._following, messages, ends=ends, answers=answers)
            answer.body[PROMPT] = prompt_logprobs(heard, read_top(body, PROMPT))
        return answer

    def score(self, body: Body, number: int) -> Answer:
        """Answer ``POST /v1/score``, as the local server does."""
        if "messages" in body:
            messages = read_conversation(body)
        else:
            messages = (Message("user", read_texts(body)[0].rstrip()),)
        targets = [target.strip() for target in read_strings(body, "targets")]
        if not targets:
            raise BadRequest("targets must be one or more non-empty strings", "targets")
        distribution = self._following(messages)
        scores = [
            {
                "target": target,
                "tokens": split_words(target),
                "token_logprobs": scored(distribution, target).token_logprobs,
            }
            for target in targets
        ]
        usage = Usage(count_words(messages), sum(map(num_words, targets)))
        head = {"object": "score", "model": self.name, "scores": scores}
        return Answer({**head, "usage": usage_part(usage)}, usage, (0,) * len(targets))

    def tokenize(self, body: Body, number: int) -> Answer:
        """Answer vLLM's ``POST /tokenize``."""
        if "messages" in body:
            ends, answers = read_template(body)
            words = chat_words(read_conversation(body), ends=ends, answers=answers)
        else:
            words = split_words(read_texts(body)[0])
        told: Body = {"count": len(words), "max_model_len": CONTEXT_TOKENS}
        told["tokens"] = [token_id(word) for word in words]
        if read_flag(body, "return_token_strs"):
            told["token_strs"] = words
        return Answer(told, Usage(), ())

    def models(self) -> Body:
        """Answer ``GET /v1/models``."""
        model = {"id": self.name, "object": "model", "created": 0, "owned_by": "simulated"}
        return {"object": "list", "data": [{**model, "max_model_len": CONTEXT_TOKENS}]}

    def sampling(self, body: Body, number: int, default_tokens: int) -> Sampling:
        """Read how texts are drawn; without a seed, equal requests get different texts."""
        unseeded = digest(self._seed, number, "sample")
        return Sampling.read(body, unseeded=unseeded, default_tokens=default_tokens)

    def _heard(self, prompt: str, body: Body) -> list[Token]:
        wants = read_flag(body, "echo") and body.get("logprobs") is not None
        if wants or body.get(PROMPT) is not None:
            return read_prompt(self._after, prompt)
        return []

    def _answer(
        self,
        kind: str,
        number: int,
        choices: list[Body],
        usage: Usage,
        sequences: Sequence[int],
    ) -> Answer:
        body = {
            "id": f"{kind}-{number}",
            "object": kind,
            "created": int(time.time()),
            "model": self.name,
            "choices": choices,
            "usage": usage_part(usage),
        }
        return Answer(body, usage, tuple(sequences))

    def _distribution(self, messages: Conversation) -> Mapping[str, float]:
        return self.world.distribution(ScoreRequest(messages=messages, targets=("any",)))


def count_words(messages: Conversation) -> int:
    """Tokens of a conversation, as the model inside the process counts them."""
    return sum(num_words(message.text) for message in messages)


def read_top(body: Body, name: str) -> int:
    """Read of how many words besides its own a place's log-probs are wanted.

    Raises:
        BadRequest: If it is no such number.
    """
    return read_integer(body, name, 0, 0, MOST_TOP_LOGPROBS)


def _completion(prompt: str, heard: Sequence[Token], made: Spoken, body: Body) -> Body:
    space = "" if not made.text or prompt[-1:].isspace() else " "
    text, echo = f"{space}{made.text}", read_flag(body, "echo")
    shape: Body = {"text": prompt + text if echo else text, "finish_reason": made.finish_reason}
    shape["logprobs"] = None
    if body.get("logprobs") is not None:
        said = spoken_tokens(made.distribution, text)
        tokens = [*heard, *said] if echo else said
        shape["logprobs"] = completion_logprobs(tokens, read_top(body, "logprobs"))
    if body.get(PROMPT) is not None:
        shape[PROMPT] = prompt_logprobs(heard, read_top(body, PROMPT))
    return shape


def _turn(made: Spoken, body: Body) -> Body:
    logprobs = None
    if read_flag(body, "logprobs"):
        said = spoken_tokens(made.distribution, made.text)
        logprobs = {"content": chat_logprobs(said, read_top(body, "top_logprobs"))}
    message = {"role": "assistant", "content": made.text}
    return {"message": message, "logprobs": logprobs, "finish_reason": made.finish_reason}
