"""How an endpoint is addressed and given its key, by who runs it."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote

from dln_core.config import LLMConfig
from dln_core.llm.adapters.calls import Call

ANTHROPIC_VERSION = "2023-06-01"


class Provider(Protocol):
    """What differs between those who run endpoints."""

    @property
    def apis(self) -> tuple[str, ...]:
        """What ``api: auto`` tries, best first."""
        ...

    def headers(self, config: LLMConfig, key: str) -> dict[str, str]:
        """Headers of every request; an empty key is not sent."""
        ...

    def url(self, config: LLMConfig, call: Call) -> str:
        """Address that a call goes to."""
        ...


class OpenAICompatible:
    """OpenAI, vLLM, Ollama, llama.cpp, our own server and whoever else speaks like OpenAI."""

    apis = ("chat", "completions")

    def headers(self, config: LLMConfig, key: str) -> dict[str, str]:
        """Give the key as a bearer's."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def url(self, config: LLMConfig, call: Call) -> str:
        """Put the path below the base address, or beside its ``/v1``."""
        base = (config.base_url or "").rstrip("/")
        return f"{base.removesuffix('/v1') if call.beside_v1 else base}/{call.path}"


class Azure:
    """Azure OpenAI: ``…/openai/deployments/NAME`` with a version, or ``…/openai/v1`` without."""

    apis = ("chat", "completions")

    def headers(self, config: LLMConfig, key: str) -> dict[str, str]:
        """Give the key by Azure's own header."""
        return {"api-key": key} if key else {}

    def url(self, config: LLMConfig, call: Call) -> str:
        """Put the path below the base address and the version behind it."""
        plain = OpenAICompatible().url(config, call)
        version = config.api_version
        return f"{plain}?api-version={quote(version, safe='')}" if version else plain


class Anthropic:
    """Anthropic's own protocol."""

    apis = ("messages",)

    def headers(self, config: LLMConfig, key: str) -> dict[str, str]:
        """Give the key by Anthropic's own header, and the version of the protocol."""
        version = {"anthropic-version": config.api_version or ANTHROPIC_VERSION}
        return version | ({"x-api-key": key} if key else {})

    def url(self, config: LLMConfig, call: Call) -> str:
        """Put the path below the base address."""
        return OpenAICompatible().url(config, call)


_OPENAI_COMPATIBLE = OpenAICompatible()
_OTHERS: dict[str, Provider] = {"azure": Azure(), "anthropic": Anthropic()}


def provider_of(config: LLMConfig) -> Provider:
    """The provider that the settings name."""
    return _OTHERS.get(config.provider, _OPENAI_COMPATIBLE)
