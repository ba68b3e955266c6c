"""Opening a language model with its transports.

meter > cache > dedupe > lists (on the rung echo) > retry > limits > endpoint
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import anyio
import platformdirs

from dln_core.config import CacheConfig, LimitsConfig, LLMConfig
from dln_core.errors import ConfigError
from dln_core.llm.adapters import prompt_logprobs
from dln_core.llm.base import LanguageModel, ScoreRequest, Sendable, Sender
from dln_core.llm.cache import Cache
from dln_core.llm.call_log import CallLog, logged
from dln_core.llm.capabilities import Route, probe, unscored_route
from dln_core.llm.dedupe import Dedupe
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.ledger import Ledger, Metered
from dln_core.llm.limits import Limiter, LimiterSource, Limits
from dln_core.llm.lists import MAX_SEQUENCES, Lists
from dln_core.llm.payer import Payer
from dln_core.llm.remote_store import AnswerSource, BackedStore, backed_by
from dln_core.llm.retry import Retry
from dln_core.llm.simulated import InContextReader, SimulatedModel, WithoutScores
from dln_core.llm.store import AnswerStore, Store
from dln_core.llm.stored import Nobody

# Files of another format lie beside it, untouched.
STORE_FORMAT = "v3"
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
        own: The sweep's own store, always on; on a node of a cluster backed by the driver's.
        shared: The store that all sweeps share; None if the cache is off.
        mode: The setting ``cache.mode``.
        payer: On whose bill new answers go.
    """

    own: AnswerStore | BackedStore
    shared: AnswerStore | None
    mode: str
    payer: Payer = field(default_factory=Payer)

    def around(
        self, inner: LanguageModel, identity: dict[str, Any], rung: str | None = None
    ) -> Cache:
        """Put the stores around a model that scores by a rung."""
        read: list[Store] = [self.own]
        write: list[Store] = [self.own]
        if self.shared is not None:
            read += [self.shared] if self.mode in ("on", "read_only") else []
            write += [self.shared] if self.mode in ("on", "refresh") else []
        return Cache(inner, identity, rung=rung, read=read, write=write, payer=self.payer)

    async def flush(self) -> None:
        """Return once the driver's store has all that the sweep was answered here.

        Raises:
            JournalError: If it cannot be written.
        """
        if isinstance(self.own, BackedStore):
            await self.own.flush()


@asynccontextmanager
async def open_stores(
    config: CacheConfig, name: str, source: AnswerSource | None = None
) -> AsyncIterator[Stores]:
    """Open a sweep's own store of answers, and the shared one unless the cache is off.

    Only the shared one is bounded in size: a sweep goes on from its own.

    Args:
        config: Where they are, and whether answers are shared.
        name: Name of the sweep's own store.
        source: The sweep's own store on the driver's machine; None if that is this one.
    """
    path = cache_folder(config) / STORE_FORMAT / "answers.db"
    with ExitStack() as stack:
        own = stack.enter_context(closing(own_store(config, name)))
        shared = None
        if config.mode != "off":
            shared = stack.enter_context(closing(AnswerStore(path, config.max_gb)))
        stores = Stores(own=backed_by(source, own), shared=shared, mode=config.mode)
        try:
            yield stores
        finally:
            # Not even what failed or was cancelled may lose what was paid.
            with anyio.CancelScope(shield=True):
                await stores.flush()


def own_store(config: CacheConfig, name: str) -> AnswerStore:
    """Open a sweep's own store of answers on this machine."""
    folder = cache_folder(config) / STORE_FORMAT / "sweeps"
    return AnswerStore(folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.db")


def cache_folder(config: CacheConfig) -> Path:
    """The folder of stored answers: the one that is set, else the user's."""
    return Path(config.dir or platformdirs.user_cache_dir("dln")).expanduser()


@asynccontextmanager
async def connect(
    config: LLMConfig,
    *,
    rung: str | None,
    limits: LimitsConfig,
    limiters: LimiterSource,
    stores: Stores,
    ledgers: Sequence[Ledger],
    call_log: CallLog | None = None,
) -> AsyncIterator[Connection]:
    """Open a language model.

    Args:
        config: Which model, and where.
        rung: The setting ``scoring.rung``; None for a model that only writes texts.
        limits: What the endpoint allows.
        limiters: Where the endpoint's limiter comes from.
        stores: Stored answers.
        ledgers: Every answer is entered into each of them; the list may change meanwhile.
        call_log: Every attempt at a request is entered into it.

    Raises:
        LLMError: If the endpoint cannot be reached or cannot score texts.
    """
    async with AsyncExitStack() as stack:
        if config.provider == "simulated":
            simulated, route = _open_simulated(rung)
            engine = logged(simulated, call_log, config.model)
        else:
            _require_address(config)
            # Before the probe, whose requests count beside those of other trials.
            limiter = await stack.enter_async_context(limiters.open(config, limits))
            session = await stack.enter_async_context(open_session(config))

            def open_route(route: Route) -> Sender[Sendable]:
                return logged(Endpoint(config, session, route), call_log, config.model)

            route = await _find_route(open_route, config, rung, limits, limiter)
            endpoint = open_route(route)
            engine = around_endpoint(endpoint, route, limits, limiter)
        cached = stores.around(engine, _identity(config, route), route.rung)
        yield Connection(Metered(cached, ledgers, config.known_price), route)


def stored_answers(config: LLMConfig, route: Route, stores: Stores) -> LanguageModel:
    """Make a model that gives stored answers alone; it needs no endpoint.

    Args:
        config: Whose answers.
        route: How they were asked for.
        stores: Where they are.
    """
    return stores.around(Nobody(), _identity(config, route), route.rung)


def around_endpoint(
    endpoint: Sender[Sendable], route: Route, limits: LimitsConfig, limiter: Limiter
) -> LanguageModel:
    """Put the transports around an endpoint that share, try again and hold back its calls."""
    tried = Retry(_held_back(endpoint, route, limiter), limits.max_attempts)
    if route.rung != "echo":
        return Dedupe(tried)
    return Dedupe(Lists(tried, min(MAX_SEQUENCES, limits.max_concurrency or MAX_SEQUENCES)))


def _open_simulated(rung: str | None) -> tuple[LanguageModel, Route]:
    model = SimulatedModel(InContextReader())
    if rung in ("label", "monte_carlo"):
        return WithoutScores(model, rung), Route("chat", rung)
    return model, SIMULATED_ROUTE


def _require_address(config: LLMConfig) -> None:
    if not config.base_url:
        raise ConfigError(
            f"llm.base_url is missing for {config.model}; start the local model with "
            f"'python -m dln_core.llm.local serve {config.model}' and give the address it prints"
        )


async def _find_route(
    open_route: Callable[[Route], Sender[Sendable]],
    config: LLMConfig,
    rung: str | None,
    limits: LimitsConfig,
    limiter: Limiter,
) -> Route:
    if rung is None:
        return unscored_route(config)
    return await probe(
        lambda route: _held_back(open_route(route), route, limiter),
        config,
        rung,
        limits.max_attempts,
    )


def _held_back(endpoint: Sender[Sendable], route: Route, limiter: Limiter) -> Limits[Sendable]:
    def num_calls(request: Sendable) -> int:
        if isinstance(request, ScoreRequest) and route.rung == "prompt_logprobs":
            return prompt_logprobs.num_calls(request)
        return 1

    return Limits(endpoint, limiter, num_calls)


def _identity(config: LLMConfig, route: Route) -> dict[str, Any]:
    values = asdict(config)
    kept = ("provider", "model", "revision", "extra", "omit")
    return {name: values[name] for name in kept} | {"api": route.api, "rung": route.rung}
