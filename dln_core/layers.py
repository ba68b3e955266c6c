"""A language layer: p(output | body, prompt), an LLM called on a filled-in template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dln_core.llm.base import GenerateRequest, ScoreRequest
from dln_core.templates import Template, load_template
from dln_core.types import Message, Prompt, Role


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageLayer:
    """One stochastic layer, whose parameter is its prompt.

    Attributes:
        name: Name in metrics and exports.
        template: How prompt and body become a conversation.
        output_name: Field name before what the layer writes.
        prompt: The parameter.
        residual: Whether the layer also reads the network's input.
        trained: Whether training may change the prompt.
        max_tokens: Upper bound on the output, in tokens.
    """

    name: str
    template: Template
    output_name: str
    prompt: Prompt
    residual: bool = False
    trained: bool = True
    max_tokens: int = 32

    def with_prompt(self, prompt: Prompt) -> LanguageLayer:
        """Return the same layer with another prompt."""
        return replace(self, prompt=prompt)

    def messages(self, body: str) -> tuple[Message, ...]:
        """Render the conversation that asks for this layer's output on a body."""
        return self.template.messages(self.prompt, body=body, output_name=self.output_name)

    def generation(
        self, body: str, *, role: Role, temperature: float = 0.0, seed: int = 0
    ) -> GenerateRequest:
        """Ask for an output: the prior p(output | body, prompt) at the given temperature."""
        return GenerateRequest(
            messages=self.messages(body),
            max_tokens=self.max_tokens,
            temperature=temperature,
            seed=seed,
            role=role,
        )

    def scoring(self, body: str, targets: Sequence[str], *, role: Role) -> ScoreRequest:
        """Ask for log p(target | body, prompt) of every target."""
        return ScoreRequest(messages=self.messages(body), targets=tuple(targets), role=role)

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as plain JSON values."""
        return {
            "name": self.name,
            "template": {"name": self.template.name, "version": self.template.version},
            "output_name": self.output_name,
            "prompt": self.prompt.to_dict(),
            "residual": self.residual,
            "trained": self.trained,
            "max_tokens": self.max_tokens,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LanguageLayer:
        """Read what ``to_dict`` wrote."""
        return cls(
            name=values["name"],
            template=load_template(values["template"]["name"]),
            output_name=values["output_name"],
            prompt=Prompt.from_dict(values["prompt"]),
            residual=values["residual"],
            trained=values["trained"],
            max_tokens=values["max_tokens"],
        )
