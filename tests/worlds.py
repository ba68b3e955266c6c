"""Planted worlds: simulated models whose best prompts are known to the tests alone.

The task is to name the parity of a number.  The model knows how to, but does so only under a
prompt that contains a key sentence; proposals are drawn from a pool in which such a sentence is
one of many.

In the two small worlds a proposal is one sentence.  In those of class ``Planted`` a prompt is a
line of its own, which stays, and sentences below it, one a line; a proposal is the instruction
shown in the request with one sentence of the pool more, or one of its own less.  At most a tenth
of a pool is of any use.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dln_core.config import LayerConfig, NetworkConfig
from dln_core.llm.base import Request
from dln_core.network import Network
from dln_core.tasks.answers import AnswerKind
from dln_core.tasks.task import Task
from dln_core.types import Example, Prompt, Splits

LABELS = ("Even", "Odd")
ANSWER_KEY = "Even or Odd? Look at the last digit."
HIDDEN_KEY = "Even or Odd? Say which kind of number it is."
POOL = tuple(f"Even or Odd? Mind the weather on day {day}." for day in range(20))
SURE = 0.97


def parity_task(
    num_train: int = 120, num_dev: int = 40, num_test: int = 100, first: int = 100
) -> Task:
    """A task without any data file: numbers, balanced over their parity, shared by no split."""
    numbers = iter(range(first, first + num_train + num_dev + num_test))

    def take(count: int) -> tuple[Example, ...]:
        chosen = [next(numbers) for _ in range(count)]
        return tuple(
            Example(id=str(n), input=f"the number {n}", target=LABELS[n % 2], labels=LABELS)
            for n in chosen
        )

    splits = Splits(train=take(num_train), dev=take(num_dev), test=take(num_test))
    return Task(
        name="parity",
        kind="toy",
        instruction="Say Even or Odd.",
        input_name="Item",
        output_name="Label",
        labels=LABELS,
        splits=splits,
        digest="parity",
        answer_kind=AnswerKind("label"),
        max_answer_tokens=4,
        licence="",
        source="",
        notes="",
    )


class OneStepWorld:
    """Answers rightly under a prompt with the answer key, else always leans to one label."""

    def distribution(self, request: Request) -> Mapping[str, float]:
        text = "\n".join(message.text for message in request.messages)
        if _is_proposal(text):
            return _proposals(ANSWER_KEY)
        return _answer(_number(text), knows=ANSWER_KEY in text)


class HiddenStepWorld:
    """Answers rightly only from a hidden text that names the parity.

    The first layer writes such a text under a prompt with the hidden key, or when told the answer.
    """

    def distribution(self, request: Request) -> Mapping[str, float]:
        text = "\n".join(message.text for message in request.messages)
        if _is_proposal(text):
            return _proposals(HIDDEN_KEY)
        if not text.endswith("Label:"):
            return self.hidden(text)
        named = re.search(r"it is (even|odd)", text)
        if named is None:
            return {"Even": 0.6, "Odd": 0.4}
        right = named[1].capitalize()
        return {label: SURE if label == right else 1 - SURE for label in LABELS}

    def hidden(self, text: str) -> dict[str, float]:
        """Distribution over the four hidden texts."""
        number, told = _number(text), re.search(r"arrive at: (Even|Odd)", text)
        right = told[1].lower() if told else LABELS[number % 2].lower()
        wrong = "odd" if right == "even" else "even"
        if HIDDEN_KEY in text or told:
            return {f"it is {right}": 0.9, f"it is {wrong}": 0.02, "it is big": 0.04, "hm": 0.04}
        return {f"it is {right}": 0.05, f"it is {wrong}": 0.05, "it is big": 0.5, "hm": 0.4}


def _is_proposal(text: str) -> bool:
    return text.endswith("Improved instruction:")


def _proposals(key: str) -> dict[str, float]:
    sentences = (*POOL, key)
    return dict.fromkeys(sentences, 1 / len(sentences))


def _number(text: str) -> int:
    return int(re.findall(r"the number (\d+)", text)[-1])


def _answer(number: int, *, knows: bool) -> dict[str, float]:
    if not knows:
        return {"Even": 0.6, "Odd": 0.4}
    return {label: SURE if label == LABELS[number % 2] else 1 - SURE for label in LABELS}


def _useless(count: int) -> tuple[str, ...]:
    return tuple(f"Mind the weather on day {day}." for day in range(count))


@dataclass(frozen=True, slots=True)
class Planted:
    """A world in which some sentences of a pool, and no others, change what layers write.

    Attributes:
        useful: The sentences that help, for each of the layers.
        pool: What proposals are made of.
        write: What a layer writes: its distribution by the sentences of its prompt and by the
            question.
    """

    useful: tuple[tuple[str, ...], ...]
    pool: tuple[str, ...]
    write: Callable[[frozenset[str], str], dict[str, float]]

    def distribution(self, request: Request) -> Mapping[str, float]:
        question = request.messages[-1].text
        if _is_proposal(question):
            return self._neighbours(question.split("<<<\n")[1].split("\n>>>")[0])
        prompt = request.messages[0].text.split("\n\n")[0]
        return self.write(frozenset(prompt.splitlines()), question)

    def _neighbours(self, parent: str) -> dict[str, float]:
        first, *own = parent.splitlines()
        longer = [[*own, sentence] for sentence in self.pool if sentence not in own]
        shorter = [[s for s in own if s != dropped] for dropped in own]
        texts = ["\n".join([first, *sentences]) for sentences in (*longer, *shorter)]
        return dict.fromkeys(texts, 1 / len(texts))


def best_prompts(world: Planted, network: Network) -> Network:
    """The network with every useful sentence and no other."""
    for slot, useful in zip(network.slots, world.useful, strict=True):
        first = network.prompt(slot).instruction
        network = network.with_prompt(slot, Prompt("\n".join([first, *useful])))
    return network


def _noise(*parts: object) -> float:
    """A fixed number from -1 to 1."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**31 - 1


def _lean(right: str, log_odds: float) -> dict[str, float]:
    p = 1 / (1 + math.exp(-log_odds))
    return {label: p if label == right else 1 - p for label in LABELS}


# World 1.  Without a useful sentence half of the answers are right.  Each useful one sets right
# one kind of numbers, of which there are 50, 30 and 20 %; all three are needed for every number.
KINDS = ("Judge by the digit at the end.", "Leave out the digits before it.", "Count zero as even.")
SHARES = (0.5, 0.8, 1.0)


def _by_kind(sentences: frozenset[str], question: str) -> dict[str, float]:
    number = _number(question)
    kind = next(i for i, share in enumerate(SHARES) if (_noise("kind", number) + 1) / 2 <= share)
    lifted = 3.0 if KINDS[kind] in sentences else 0.0
    # Sentences beside the point distract a little.
    distractors = len(sentences.difference(KINDS)) - 1
    log_odds = 2.0 * _noise(number) + lifted - 0.1 * distractors
    return _lean(LABELS[number % 2], log_odds)


SEVERAL_SENTENCES = Planted((KINDS,), (*KINDS, *_useless(27)), _by_kind)

# Worlds 2 and 3.  A text settles the parity, or it takes the first of two steps to it, or neither.
END, SETTLE = "Say how the number ends.", "Say what follows for its parity."
IDLE = (
    "This is a rather large number, and large numbers turn up in many places every day.",
    "People who kept sheep and goats were the first to write down numbers of this kind.",
)


def _finding(parity: str) -> str:
    return f"Looking at how the number ends, I can say without any doubt that it is {parity}."


def _ending(number: int) -> str:
    return f"What counts here is how the number ends, and the digit at its end is {number % 10}."


def _step(made: Mapping[str, float]) -> dict[str, float]:
    """The texts that a step makes, with probabilities, and idle ones."""
    rest = 1 - sum(made.values())
    return {**made, IDLE[0]: 0.55 * rest, IDLE[1]: 0.45 * rest}


def _answer_to(question: str) -> dict[str, float]:
    """The answer of the last layer: what the text settles, else a guess."""
    named = re.search(r"any doubt that it is (even|odd)", question)
    if named:
        return _lean(named[1].capitalize(), 3.5)
    numbers = re.findall(r"the number (\d+)", question)
    guess = _noise(numbers[-1]) if numbers else 0.2
    return _lean("Even", 2.0 * guess)


HIDDEN_KINDS = KINDS[:2]


def _hidden_step(sentences: frozenset[str], question: str) -> dict[str, float]:
    if question.endswith("Label:"):
        return _answer_to(question)
    told = re.search(r"arrive at: (Even|Odd)", question)
    if told:
        return _step({_finding(told[1].lower()): 0.8})
    number = _number(question)
    right, wrong = LABELS[number % 2].lower(), LABELS[(number + 1) % 2].lower()
    # Each of two useful sentences serves one kind of numbers, of which there are 60 and 40 %.
    useful = HIDDEN_KINDS[int(_noise("kind", number) > 0.2)]
    if useful in sentences:
        return _step({_finding(right): 0.8, _finding(wrong): 0.02})
    return _step({_finding(right): 0.08, _finding(wrong): 0.04})


HIDDEN_STEP = Planted((HIDDEN_KINDS, ()), (*HIDDEN_KINDS, *_useless(18)), _hidden_step)


def _two_hidden_steps(sentences: frozenset[str], question: str) -> dict[str, float]:
    if question.endswith("Label:"):
        return _answer_to(question)
    number = _number(question)
    told = re.search(r"arrive at: .*?(even|odd)\b", question, re.IGNORECASE)
    if told and told[0].endswith(LABELS):
        return _step({_finding(told[1].lower()): 0.8})
    if told:
        return _step({_ending(number): 0.8})
    right, wrong = LABELS[number % 2].lower(), LABELS[(number + 1) % 2].lower()
    # The second step can be taken only by a layer that reads the first.
    if "digit at its end" not in question:
        guess = {_finding(right): 0.04, _finding(wrong): 0.04}
        return _step({_ending(number): 0.8 if END in sentences else 0.08, **guess})
    if SETTLE in sentences:
        return _step({_finding(right): 0.8, _finding(wrong): 0.02})
    return _step({_finding(right): 0.08, _finding(wrong): 0.04})


TWO_HIDDEN_STEPS = Planted(((END,), (SETTLE,), ()), (END, SETTLE, *_useless(18)), _two_hidden_steps)


# World 4.  Every prompt changes some answers, none for the better on the whole.
def _by_chance(sentences: frozenset[str], question: str) -> dict[str, float]:
    number = _number(question)
    log_odds = 0.3 + 2.0 * _noise(number) + 0.5 * _noise(number, *sorted(sentences))
    return _lean(LABELS[number % 2], log_odds)


NO_PROMPT_HELPS = Planted(((),), _useless(30), _by_chance)

_THOUGHTS = LayerConfig(name="thoughts", template="hidden", instruction="Think.", max_tokens=32)
ONE_LAYER = NetworkConfig(name="dln1", layers=[LayerConfig()])
TWO_LAYERS = NetworkConfig(
    name="dln2", layers=[_THOUGHTS, LayerConfig(name="output", reads=["input", "thoughts"])]
)
THREE_LAYERS = NetworkConfig(
    name="dln3",
    layers=[
        LayerConfig(
            name="plan", template="hidden", instruction="Plan.", output_name="Plan", max_tokens=32
        ),
        replace(_THOUGHTS, reads=["input", "plan"]),
        LayerConfig(name="output", reads=["thoughts"]),
    ],
)
