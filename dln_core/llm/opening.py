"""Opening a language model, whether it is described by settings or given as an object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from dln_core.config import LimitsConfig, LLMConfig, PriceConfig
from dln_core.errors import ConfigError
from dln_core.llm.base import LanguageModel
from dln_core.llm.call_log import CallLog, logged
from dln_core.llm.capabilities import Route, probe
from dln_core.llm.connect import Connection, Stores, connect
from dln_core.llm.ledger import Ledger, Metered
from dln_core.llm.limits import LimiterSource, Limits
from dln_core.llm.local_limiter import LocalLimiter
from dln_core.llm.retry import Retry

ModelSource = LLMConfig | LanguageModel


def model_name(llm: ModelSource) -> str:
    """The name of a model in exports and messages; of an object, that of its class."""
    return llm.model if isinstance(llm, LLMConfig) else type(llm).__name__


@asynccontextmanager
async def open_model(
    llm: ModelSource,
    *,
    rung: str | None,
    limits: LimitsConfig,
    limiters: LimiterSource,
    stores: Stores,
    ledgers: Sequence[Ledger],
    call_log: CallLog | None = None,
) -> AsyncIterator[Connection]:
    """Open a language model as ``connect`` does; one that is given is retried, limited and counted.

    What a given model answers is not stored, since nothing tells it from another one, and its
    price is unknown.

    Raises:
        ConfigError: If what is given is no language model.
        LLMError: If the model cannot be reached or cannot score texts.
    """
    if isinstance(llm, LLMConfig):
        async with connect(
            llm,
            rung=rung,
            limits=limits,
            limiters=limiters,
            stores=stores,
            ledgers=ledgers,
            call_log=call_log,
        ) as connection:
            yield connection
        return
    if not hasattr(llm, "send"):
        raise ConfigError(
            f"llm={llm!r:.80} is no language model; give an LLMConfig, e.g. "
            "LLMConfig(provider='simulated'), or an object with the method send"
        )
    engine = logged(llm, call_log, model_name(llm))
    model = Retry(Limits(engine, LocalLimiter(limits)), limits.max_attempts)
    yield Connection(Metered(model, ledgers, PriceConfig()), await _route(model, llm, rung))


async def _route(model: LanguageModel, llm: LanguageModel, rung: str | None) -> Route:
    if rung is None:
        return Route("chat", None)
    # An object has conversations alone, which is what the chat routes are.
    return await probe(lambda _: model, LLMConfig(model=model_name(llm), api="chat"), rung)
