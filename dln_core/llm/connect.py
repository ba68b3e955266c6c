"""Opening a language model with its transports: meter > cache > retry > limit > engine."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from dln_core.config import CacheConfig, LimitsConfig, LLMConfig
from dln_core.errors import ConfigError
from dln_core.llm.base import LanguageModel
from dln_core.llm.cache import AnswerStore, Cache
from dln_core.llm.capabilities import Route, probe
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.ledger import Ledger, Metered
from dln_core.llm.limits import Limits
from dln_core.llm.retry import Retry
from dln_core.llm.simulated import InContextReader, SimulatedModel, WithoutScores

PROBE_ATTEMPTS = 3
SIMULATED_ROUTE = Route("chat", "score")


@dataclass(frozen=True, slots=True)
class Connection:
    """An open language model, and the route that it was found to take."""

    model: LanguageModel
    route: Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where answers are looked for and kept.

    Attributes:
        own: The sweep's own store, always on.
        shared: The store that all sweeps share; None if the cache is off.
        mode: The setting ``cache.mode``.
    """

    own: AnswerStore
    shared: AnswerStore | None
    mode: str

    def around(self, inner: LanguageModel, identity: dict[str, Any]) -> Cache:
        """Put the stores around a model."""
        read, write = [self.own], [self.own]
        if self.shared is not None:
            read += [self.shared] if self.mode in ("on", "read_only") else []
            write += [self.shared] if self.mode in ("on", "refresh") else []
        return Cache(inner, identity, read=read, write=write)


@asynccontextmanager
async def open_stores(config: CacheConfig, name: str) -> AsyncIterator[Stores]:
    """Open a sweep's own store of answers, and the shared one unless the cache is off."""
    folder = cache_folder(config)
    own = AnswerStore(folder / "sweeps" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.db")
    shared = None if config.mode == "off" else AnswerStore(folder / "answers.db")
    try:
        yield Stores(own=own, shared=shared, mode=config.mode)
    finally:
        own.close()
        if shared is not None:
            shared.close()


def cache_folder(config: CacheConfig) -> Path:
    """The folder of stored answers: the one that is set, else the user's."""
    return Path(config.dir or platformdirs.user_cache_dir("dln")).expanduser()


@asynccontextmanager
async def connect(
    config: LLMConfig,
    *,
    rung: str | None,
    limits: LimitsConfig,
    share: int,
    stores: Stores,
    ledgers: Sequence[Ledger],
) -> AsyncIterator[Connection]:
    """Open a language model.

    Args:
        config: Which model, and where.
        rung: The setting ``scoring.rung``; None for a model that only writes texts.
        limits: What the endpoint allows.
        share: Number of processes among which the limits are divided.
        stores: Stored answers.
        ledgers: Every answer is entered into each of them; the list may change meanwhile.

    Raises:
        LLMError: If the endpoint cannot be reached or cannot score texts.
    """
    async with AsyncExitStack() as stack:
        if config.provider == "simulated":
            engine, route = _open_simulated(rung)
        else:
            engine, route = await _open_endpoint(config, rung, stack)
            engine = Retry(Limits(engine, limits, share), limits.max_attempts)
        cached = stores.around(engine, _identity(config, route))
        yield Connection(Metered(cached, ledgers, config.known_price), route)


def _open_simulated(rung: str | None) -> tuple[LanguageModel, Route]:
    model = SimulatedModel(InContextReader())
    if rung in ("label", "monte_carlo"):
        return WithoutScores(model, rung), Route("chat", rung)
    return model, SIMULATED_ROUTE


async def _open_endpoint(
    config: LLMConfig, rung: str | None, stack: AsyncExitStack
) -> tuple[LanguageModel, Route]:
    if not config.base_url:
        raise ConfigError(
            f"llm.base_url is missing for {config.model}; start the local model with "
            f"'python -m dln_core.llm.local serve {config.model}' and give the address it prints"
        )
    session = await stack.enter_async_context(open_session(config))

    def open_route(route: Route) -> LanguageModel:
        return Endpoint(config, session, api=route.api, rung=route.rung)

    if rung is None:
        route = Route("chat" if config.api == "auto" else config.api, None)
        return open_route(route), route
    route = await probe(lambda r: Retry(open_route(r), PROBE_ATTEMPTS), config, rung)
    return open_route(route), route


def _identity(config: LLMConfig, route: Route) -> dict[str, Any]:
    values = asdict(config)
    kept = ("provider", "model", "revision", "extra", "omit")
    return {name: values[name] for name in kept} | {"api": route.api, "rung": route.rung}
