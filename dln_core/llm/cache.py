"""Stored answers: no call is paid twice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import anyio

from dln_core.llm.base import LanguageModel, Request, Response, ScoreRequest
from dln_core.llm.payer import Payer, unmarked
from dln_core.llm.store import Store
from dln_core.llm.units import (
    Keys,
    decode_pairs,
    decode_whole,
    encode_pairs,
    encode_whole,
)
from dln_core.types import Usage

# Rungs that score whole texts, and whether a call's usage counts its context once for all targets.
SHARES_CONTEXT = {"score": True, "echo": False, "prompt_logprobs": False}


class Cache:
    """A transport that answers from stores and stores what it had to send for.

    An answer is stored before it is returned.  Where the rung scores whole texts, each target's
    score is stored by itself and only the missing ones are sent for; ``usage`` is always that of
    the whole request, ``sent`` that of the missing part.

    Args:
        inner: Where requests go that no store answers.
        identity: What makes one model different from another (name, revision, rung, …).
        rung: How the model scores texts.
        read: Stores asked in turn; the first is the sweep's own.
        write: Stores that keep a new answer.
        payer: On whose bill it goes.
    """

    def __init__(
        self,
        inner: LanguageModel,
        identity: Mapping[str, Any],
        *,
        rung: str | None,
        read: Sequence[Store],
        write: Sequence[Store],
        payer: Payer,
    ) -> None:
        self._inner = inner
        self._keys = Keys(identity)
        self._shares_context = SHARES_CONTEXT.get(rung or "")
        self._read = read
        self._write = write
        self._payer = payer
        self._arrivals = Arrivals()

    async def send(self, request: Request) -> Response:
        """Answer from the stores, else by the inner model.

        Raises:
            JournalError: If a store cannot be read or written.
            LLMError: If the request failed for good.
        """
        if isinstance(request, ScoreRequest) and self._shares_context is not None:
            return await self._score(request, self._shares_context)
        key = self._keys.whole(request)
        found = await self._find([key])
        if found:
            response = decode_whole(unmarked(found[key]))
            return replace(response, paid=bool(self._payer.settled(found)))
        response = await self._inner.send(request)
        await self._keep({key: encode_whole(response)})
        return response

    async def _score(self, request: ScoreRequest, shares_context: bool) -> Response:
        keys = self._keys.pairs(request)
        found = await self._find(keys.values())
        missing = tuple(target for target, key in keys.items() if key not in found)
        new, paid, is_paid = dict[bytes, bytes](), Usage(), False
        if missing:
            is_whole = len(missing) == len(request.targets)
            asked = request if is_whole else replace(request, targets=missing)
            sent = await self._inner.send(asked)
            paid, is_paid = sent.paid_usage, sent.paid
            pairs = encode_pairs(sent)
            answers = {keys[target]: pair for target, pair in zip(missing, pairs, strict=True)}
            new = await self._keep(answers)
        # Only now, since a request that fails is on no bill.
        if settled := self._payer.settled(found):
            targets = [target for target, key in keys.items() if key in settled]
            stored = [unmarked(found[keys[target]]) for target in targets]
            paid += decode_pairs(targets, stored, shares_context).usage
        found |= new
        stored = [unmarked(found[keys[target]]) for target in request.targets]
        response = decode_pairs(request.targets, stored, shares_context)
        return replace(response, paid=is_paid or bool(settled), sent=paid)

    async def _find(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Look answers up.

        What another store than the first has is copied into the first: the sweep's own store then
        holds all that the sweep was answered, whatever becomes of the others.
        """
        found: dict[bytes, bytes] = {}
        copied: dict[bytes, bytes] = {}
        with self._arrivals.watched(keys) as arrived:
            for store in self._read:
                missing = [key for key in keys if key not in found]
                if missing:
                    more = await store.get(missing)
                    found |= more
                    if store is not self._read[0]:
                        copied |= more
        copied |= {key: answer for key, answer in arrived.items() if key not in found}
        if copied:
            await self._read[0].put(copied)
        return found | copied

    async def _keep(self, answers: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        marked = self._payer.marked(answers)
        # Not even a cancelled request may lose what was paid.
        with self._arrivals.announced(marked), anyio.CancelScope(shield=True):
            for store in self._write:
                await store.put(marked)
        return marked


class Arrivals:
    """Answers that came while they were being looked for.

    Between its arrival and its commit no store has an answer, and a lookup that began before the
    commit may miss it even later.  So whoever looks is told what arrives meanwhile.
    """

    def __init__(self) -> None:
        self._uncommitted: dict[bytes, bytes] = {}
        self._watching: dict[bytes, list[dict[bytes, bytes]]] = {}

    @contextmanager
    def watched(self, keys: Collection[bytes]) -> Iterator[dict[bytes, bytes]]:
        """Watch some keys; the answers that are there or arrive meanwhile enter what is given."""
        arrived = {key: self._uncommitted[key] for key in keys if key in self._uncommitted}
        for key in keys:
            self._watching.setdefault(key, []).append(arrived)
        try:
            yield arrived
        finally:
            for key in keys:
                watchers = self._watching[key]
                # By identity: equal dictionaries belong to others who watch the same key.
                watchers[:] = [other for other in watchers if other is not arrived]
                if not watchers:
                    del self._watching[key]

    @contextmanager
    def announced(self, answers: Mapping[bytes, bytes]) -> Iterator[None]:
        """Tell all who watch that these answers have arrived and are being stored."""
        self._uncommitted |= answers
        for key, answer in answers.items():
            for arrived in self._watching.get(key, ()):
                arrived[key] = answer
        try:
            yield
        finally:
            for key in answers:
                self._uncommitted.pop(key, None)
