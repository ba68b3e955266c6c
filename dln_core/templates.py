"""Templates: how prompts, inputs and outputs become the turns of a conversation.

They live in ``dln_core/prompts``, carry a version, and are rendered in a sandbox.  What a language
model wrote enters as a value and is never read as a template.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml
from jinja2 import StrictUndefined
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dln_core.errors import ConfigError
from dln_core.types import Message, Prompt

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
)

# Results depend on its wording only where answers are judged by a model.
JUDGE = "judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One versioned template.

    Attributes:
        name: File name without its ending.
        version: Raised when the wording changes.
        opening: What stands before the first turn.
        turn: One question, to which the model's answer is the next turn.
        meta_instructions: Ways to improve an instruction (backward templates only).
    """

    name: str
    version: int
    opening: str
    turn: str
    meta_instructions: tuple[str, ...] = ()

    def messages(self, prompt: Prompt, **values: Any) -> tuple[Message, ...]:
        """Render a conversation: opening and demonstrations, then the question that is asked.

        Each demonstration is a user turn with its input as ``body`` and an assistant turn with
        its output; ``values`` must hold the ``body`` of the question.
        """
        shown: list[Message] = []
        for demonstration in prompt.demonstrations:
            asked = _render(self.turn, values | {"body": demonstration.input})
            shown.append(Message("user", asked))
            shown.append(Message("assistant", demonstration.output))
        turns = [*shown, Message("user", _render(self.turn, values))]
        opening = _render(self.opening, {"instruction": prompt.instruction} | values).strip()
        if opening:
            turns[0] = Message("user", f"{opening}\n\n{turns[0].text}")
        return tuple(turns)

    def question(self, **values: Any) -> str:
        """Render the turn alone."""
        return _render(self.turn, values)


@functools.cache
def load_template(name: str) -> Template:
    """Load a template by name.

    Raises:
        ConfigError: If there is none of that name.
    """
    file = resources.files("dln_core.prompts").joinpath(f"{name}.yaml")
    if not re.fullmatch(r"\w+", name) or not file.is_file():
        raise ConfigError(
            f"there is no template named {name!r}; choose one of: {', '.join(template_names())}"
        )
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Template(
        name=name,
        version=values["version"],
        opening=values["opening"],
        turn=values["turn"],
        meta_instructions=tuple(values.get("meta_instructions", ())),
    )


def template_names() -> list[str]:
    """Names of all templates."""
    files = resources.files("dln_core.prompts").iterdir()
    return sorted(file.name[: -len(".yaml")] for file in files if file.name.endswith(".yaml"))


@functools.cache
def templates_digest() -> str:
    """SHA-256 over the templates of layers and proposals: results depend on their wording."""
    names = (name for name in template_names() if name != JUDGE)
    content = "\n".join(repr(load_template(name)) for name in names)
    return hashlib.sha256(content.encode()).hexdigest()


@functools.cache
def _compiled(source: str) -> tuple[Any, tuple[str, ...]]:
    """A template and the names of the values that it uses."""
    names = find_undeclared_variables(_ENVIRONMENT.parse(source))
    return _ENVIRONMENT.from_string(source), tuple(sorted(names))


def _render(source: str, values: dict[str, Any]) -> str:
    template, names = _compiled(source)
    used = tuple((name, values[name]) for name in names if name in values)
    if all(isinstance(value, str) for _, value in used):
        return _rendered(source, used)
    return str(template.render(values))


# A step asks for the same few hundred bodies under every candidate.
@functools.lru_cache(maxsize=1024)
def _rendered(source: str, values: tuple[tuple[str, str], ...]) -> str:
    return str(_compiled(source)[0].render(dict(values)))
