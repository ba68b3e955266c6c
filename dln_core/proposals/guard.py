"""What is refused of the texts that a language model writes, and why.

The checks look at the text alone; no answer of the network on dev or test plays any part in them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dln_core.proposals.evidence import Case, Evidence
from dln_core.templates import load_template
from dln_core.types import Prompt, Splits

# Long enough that two independent texts hardly share one by chance.
HELD_OUT_WORDS = 8
# A whole input of so many words counts too; one of fewer may well be said by chance.
SHORT_WORDS = range(4, HELD_OUT_WORDS)
# Shorter: models repeat a request in pieces.
ECHO_WORDS = 6
# An instruction that has to name more answers than this would be a list of them.
MAX_NAMED_LABELS = 8
BACKWARD_TEMPLATES = ("rewrite", "induce", "rules", "recombine")
ECHOES = ("<<<", ">>>", "improved instruction", "student", "cases it got")
ASKS_USER = re.compile(
    r"\b(please (provide|share|give|send)|could you (provide|share)|let me know)\b", re.IGNORECASE
)
_HELD_OUT_LENGTHS = (*SHORT_WORDS, HELD_OUT_WORDS)
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses texts that are useless as an instruction or copy what they must not.

    Attributes:
        held_out: Hashes of the word 8-grams of dev and test inputs, and of whole inputs that are
            shorter, that no training input has.
    """

    held_out: frozenset[int]

    @classmethod
    def of(cls, splits: Splits) -> Guard:
        """Make the guard of a task; build it once, since it reads all of the data."""
        held_out = [example.input for example in (*splits.dev, *splits.test)]
        train = [example.input for example in splits.train]
        # A task's fixed wording stands in its training inputs too, and copies nothing.
        hashes = _hashes(held_out, HELD_OUT_WORDS) - _hashes(train, HELD_OUT_WORDS)
        for num_words in SHORT_WORDS:
            short = [text for text in held_out if len(_words(text)) == num_words]
            if short:
                hashes |= _hashes(short, num_words) - _hashes(train, num_words)
        return cls(frozenset(hashes))

    def reason_against(self, text: str, parent: Prompt | None, evidence: Evidence) -> str | None:
        """Tell why a written text must not become an instruction.

        Args:
            text: What the backward model wrote, cleaned.
            parent: The prompt it was written from: what its instruction says already is no echo,
                and the labels that it names must stay named.  None if there is none; then all
                labels must be named, unless they are more than ``MAX_NAMED_LABELS``.
            evidence: The cases that must not be copied, and the labels.

        Returns:
            ``empty``, ``echo`` (of the request), ``asks_user``, ``copies_case``,
            ``copies_held_out`` (a dev or test input), ``drops_label``, or None if nothing speaks
            against the text.
        """
        known = parent.instruction if parent else ""
        if not text:
            return "empty"
        if _echoes(text, known):
            return "echo"
        if _asks_user(text, known):
            return "asks_user"
        if any(_copies(text, case) for case in evidence.cases):
            return "copies_case"
        if any(not self.held_out.isdisjoint(_hashes([text], n)) for n in _HELD_OUT_LENGTHS):
            return "copies_held_out"
        if any(label.lower() not in text.lower() for label in _labels_to_name(parent, evidence)):
            return "drops_label"
        return None


@functools.cache
def request_wording() -> frozenset[int]:
    """Hashes of the word 6-grams of the backward templates' fixed wording."""
    templates = [load_template(name) for name in BACKWARD_TEMPLATES]
    texts = [text for t in templates for text in (t.opening, t.turn, *t.meta_instructions)]
    # Cut at the tags: words on either side of a value are no fixed wording together.
    pieces = (piece for text in texts for piece in _JINJA.split(text))
    return frozenset(_hashes(pieces, ECHO_WORDS))


def _echoes(text: str, known: str) -> bool:
    lowered, known_lowered = text.lower(), known.lower()
    if any(echo in lowered and echo not in known_lowered for echo in ECHOES):
        return True
    new = _hashes([text], ECHO_WORDS) - _hashes([known], ECHO_WORDS)
    return not new.isdisjoint(request_wording())


def _asks_user(text: str, known: str) -> bool:
    asked = {match[0].lower() for match in ASKS_USER.finditer(text)}
    return any(phrase not in known.lower() for phrase in asked)


def _copies(text: str, case: Case) -> bool:
    if case.body in text or text in case.body:
        return True
    # The input without its field name; a word or two may well be part of an instruction.
    return len(_words(case.source)) >= SHORT_WORDS[0] and case.source in text


def _labels_to_name(parent: Prompt | None, evidence: Evidence) -> tuple[str, ...]:
    if parent is not None:
        return tuple(label for label in evidence.labels if label in parent.instruction)
    return evidence.labels if len(evidence.labels) <= MAX_NAMED_LABELS else ()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _hashes(texts: Iterable[str], num_words: int) -> set[int]:
    """64-bit hashes of all runs of so many words in any of the texts, the same in every process."""
    hashes: set[int] = set()
    for text in texts:
        words = _words(text)
        for start in range(len(words) - num_words + 1):
            run = " ".join(words[start : start + num_words]).encode("utf-8", "surrogatepass")
            hashes.add(int.from_bytes(hashlib.blake2b(run, digest_size=8).digest(), "big"))
    return hashes
