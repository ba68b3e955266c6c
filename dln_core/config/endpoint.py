"""How language models are reached, and what may be asked of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from dln_core.config.checks import require, require_choice, require_positive

# The scoring ladder, best rung first.
RUNGS = ("score", "echo", "prompt_logprobs", "label", "monte_carlo")
PROVIDERS = ("local", "openai_compatible", "azure", "anthropic", "simulated")
APIS = ("auto", "completions", "chat", "responses", "messages")
OMITTABLE = ("temperature", "seed", "stop", "max_tokens", "logprobs")


@dataclass(slots=True, kw_only=True)
class PriceConfig:
    """Price in US dollars a million tokens; None where it is not known."""

    prompt_usd_per_million: float | None = None
    completion_usd_per_million: float | None = None

    def __post_init__(self) -> None:
        for name in ("prompt_usd_per_million", "completion_usd_per_million"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"llm.price.{name}={value} must not be negative")

    def cost_usd(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """Return what tokens cost in US dollars; None where the price is not known."""
        if self.prompt_usd_per_million is None or self.completion_usd_per_million is None:
            return None
        return (
            prompt_tokens * self.prompt_usd_per_million
            + completion_tokens * self.completion_usd_per_million
        ) / 1e6


@dataclass(slots=True, kw_only=True)
class LLMConfig:
    """One language model and how it is reached.

    Attributes:
        provider: Who is spoken to and how: ``local`` (served by the orchestrator),
            ``openai_compatible``, ``azure``, ``anthropic`` or ``simulated``.
        model: Name that the endpoint knows.
        revision: Which weights, where the name alone does not tell.
        base_url: Address with its ``/v1``; None for ``local`` and ``simulated``.
        api: ``chat``, ``completions``, ``responses``, ``messages`` (Anthropic's), or ``auto``
            (chat where there is a choice).
        api_version: Sent to Azure and Anthropic with every request; None takes Azure's address as
            it is, and the version of Anthropic's protocol that we know.
        api_key_env: Environment variable that holds the key.
        timeout_s: Time allowed to one request.
        extra: Sent with every request as it is.
        omit: Request parameters to leave out (temperature, seed, stop, max_tokens, logprobs).
            Without logprobs, rungs that need them are not tried.
        price: What tokens cost.
        prices: What tokens cost by model, where ``price`` does not say it.
    """

    provider: str = "local"
    model: str = "qwen2.5-coder-0.5b"
    revision: str | None = None
    base_url: str | None = None
    api: str = "auto"
    api_version: str | None = None
    api_key_env: str = "OPENAI_API_KEY"
    timeout_s: float = 600.0
    extra: dict[str, Any] = field(default_factory=dict)
    omit: list[str] = field(default_factory=list)
    price: PriceConfig = field(default_factory=PriceConfig)
    prices: dict[str, PriceConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_choice("llm.provider", self.provider, PROVIDERS)
        require_choice("llm.api", self.api, APIS)
        require_positive("llm.timeout_s", self.timeout_s)
        require(
            "@" not in (self.base_url or ""),
            "llm.base_url must not hold a user or password, since settings are written to disk; "
            f"put the key into the environment variable {self.api_key_env} instead",
        )
        require(
            not set("?#") & set(self.base_url or ""),
            "llm.base_url must not hold a query, behind which no path can follow; Azure's version "
            "is the setting llm.api_version, and a key belongs into the environment variable "
            f"{self.api_key_env}",
        )
        for name in self.omit:
            require_choice("llm.omit", name, OMITTABLE)
        require(
            self.provider in ("local", "simulated") or bool(self.base_url),
            "llm.base_url is missing; give the endpoint's address with its /v1, "
            "e.g. llm.base_url=http://localhost:8000/v1",
        )
        require(
            not self.base_url or _is_address(self.base_url),
            f"llm.base_url={self.base_url} must begin with http:// or https:// and a host, "
            "and a port, if given, is a number up to 65535, e.g. llm.base_url=http://localhost:8000/v1",
        )

    @property
    def known_price(self) -> PriceConfig:
        """The price that is set, else the table's for this model, else an unknown one."""
        is_set = self.price != PriceConfig()
        return self.price if is_set else self.prices.get(self.model, self.price)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port = parts.port is None or parts.port > 0
        return parts.scheme in ("http", "https") and bool(parts.hostname) and has_port
    except ValueError:
        return False


@dataclass(slots=True, kw_only=True)
class ScoringConfig:
    """How log-probs of texts are come by.

    Attributes:
        rung: Rung of the scoring ladder; ``auto`` takes the best that the probe finds.
        num_samples: M, forward samples an example and candidate on the rung ``monte_carlo``.
    """

    rung: str = "auto"
    num_samples: int = 4

    def __post_init__(self) -> None:
        require_choice("scoring.rung", self.rung, ("auto", *RUNGS))
        require(self.num_samples >= 1, f"scoring.num_samples={self.num_samples} must be at least 1")


@dataclass(slots=True, kw_only=True)
class LimitsConfig:
    """What the endpoint allows; None means no limit.

    Attributes:
        requests_per_minute: Requests started in any minute.
        tokens_per_minute: Prompt and completion tokens in any minute.
        max_concurrency: Texts in flight: one a generation, one a target of a scoring.
        max_attempts: Tries of one request before it fails for good.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int | None = 128
    max_attempts: int = 10

    def __post_init__(self) -> None:
        for name in ("requests_per_minute", "tokens_per_minute", "max_concurrency"):
            require_positive(f"limits.{name}", getattr(self, name))
        require(self.max_attempts >= 1, f"limits.max_attempts={self.max_attempts} must be >= 1")


@dataclass(slots=True, kw_only=True)
class CacheConfig:
    """Whether answers are shared across sweeps, and where they are stored.

    Attributes:
        mode: ``on`` reads and writes the shared store, ``read_only`` only reads it, ``refresh``
            only writes it, ``off`` does neither.  A sweep's own store is always on.
        dir: Folder of the stores; None means the user's cache folder.
        max_gb: Size above which the oldest answers of the shared store are dropped; None means no
            bound.
    """

    mode: str = "on"
    dir: str | None = None
    max_gb: float | None = 4.0

    def __post_init__(self) -> None:
        require_choice("cache.mode", self.mode, ("on", "read_only", "off", "refresh"))
        require_positive("cache.max_gb", self.max_gb)


@dataclass(slots=True, kw_only=True)
class CallLogConfig:
    """Which of the requests that are sent are written down for people to read.

    Attributes:
        share: Share of the requests, from 0 (none) to 1 (all); their content decides which.
        max_chars: Characters kept of each text.
    """

    share: float = 0.0
    max_chars: int = 8000

    def __post_init__(self) -> None:
        require(0 <= self.share <= 1, f"call_log.share={self.share} must be from 0 to 1")
        require_positive("call_log.max_chars", self.max_chars)
