"""The log of what is sent: which calls it takes down, what it shows of them and what it hides."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import anyio
import pytest

from dln_core.config import CallLogConfig
from dln_core.errors import ConfigError, RequestError
from dln_core.llm import call_log
from dln_core.llm.base import Choice, RequestList, Response, num_sequences
from dln_core.llm.call_log import CallLog, Logged
from dln_core.llm.simulated import SimulatedModel
from dln_core.types import Message, Role, Usage
from tests.core.llm.toys import GENERATE, QUESTION, SCORE, FixedWorld

KEY = "sk-very-secret"
MANY = [replace(GENERATE, seed=seed) for seed in range(400)]


class Lists:
    """An engine that takes several requests in one call."""

    def __init__(self) -> None:
        self._model = SimulatedModel(FixedWorld())

    async def send(self, request: RequestList) -> Response:
        parts = [await self._model.send(one) for one in request.requests]
        return Response((), sum((part.usage for part in parts), Usage()), parts=tuple(parts))


class Failing:
    """An engine that refuses everything with the same words."""

    def __init__(self, message: str) -> None:
        self.message = message

    async def send(self, request: object) -> Response:
        raise RequestError(self.message)


class Saying:
    """An engine that always says the same."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice

    async def send(self, request: object) -> Response:
        return Response((self.choice,), Usage(1, 1))


def everything(**changes) -> CallLog:
    return CallLog(CallLogConfig(share=1.0, **changes), {"TOY_KEY"})


async def logged(log: CallLog, *requests, engine=None) -> list[dict]:
    model = Logged(engine or SimulatedModel(FixedWorld()), log, "toy")
    for request in requests:
        await model.send(request)
    return log.take()[0]


async def test_an_entry_shows_what_was_sent_and_what_came_back():
    (written, scored) = await logged(everything(), replace(GENERATE, stop=("\n",)), SCORE)
    assert (written["kind"], written["role"], written["model"]) == ("generation", "forward", "toy")
    assert written["messages"] == [{"role": "user", "text": "Name a city of Japan."}]
    assert written["parameters"] == {
        "logprobs": False, "max_tokens": 8, "seed": 0, "stop": ["\n"], "temperature": 0.0,
    }  # fmt: skip
    assert [answer["text"] for answer in written["answers"]] == ["Tokyo"]
    assert (scored["kind"], scored["role"], scored["parameters"]) == ("scoring", "score", {})
    assert scored["targets"] == ["Kyoto", "Tokyo"]
    logprobs = [answer["logprob"] for answer in scored["answers"]]
    assert logprobs == pytest.approx([-1.609438, -0.356675], rel=1e-5)
    for entry in (written, scored):
        assert entry["error"] is None
        assert entry["duration_s"] >= 0
        assert entry["usage"]["prompt_tokens"] > 0
    json.dumps([written, scored], allow_nan=False)


async def test_what_fails_is_logged_with_its_reason_and_still_fails():
    log = everything()
    with pytest.raises(RequestError, match="too long"):
        await Logged(Failing("too long"), log, "toy").send(GENERATE)
    ([entry], _) = log.take()
    assert entry["error"] == "RequestError: too long"
    assert (entry["answers"], entry["usage"]) == ([], None)


async def test_every_attempt_has_an_entry_and_is_handed_over_once():
    log = everything()
    assert len(await logged(log, GENERATE, GENERATE)) == 2
    assert log.take() == ([], 0)


async def test_the_answer_is_what_the_engine_gave():
    engine = SimulatedModel(FixedWorld())
    assert await Logged(engine, everything(), "toy").send(SCORE) == await engine.send(SCORE)


async def test_the_requests_of_a_list_are_logged_one_by_one():
    other = replace(GENERATE, messages=(Message("user", "Name another."),))
    entries = await logged(everything(), RequestList((GENERATE, other)), engine=Lists())
    assert [entry["messages"][0]["text"] for entry in entries] == [
        "Name a city of Japan.", "Name another.",
    ]  # fmt: skip
    assert [entry["list_size"] for entry in entries] == [2, 2]
    assert [entry["answers"][0]["text"] for entry in entries] == ["Tokyo", "Tokyo"]


async def test_a_list_that_fails_fails_for_each_of_its_requests():
    log = everything()
    together = RequestList((SCORE, replace(SCORE, targets=("Nara",))))
    with pytest.raises(RequestError):
        await Logged(Failing("no"), log, "toy").send(together)
    entries, _ = log.take()
    assert [entry["targets"] for entry in entries] == [["Kyoto", "Tokyo"], ["Nara"]]
    assert {entry["error"] for entry in entries} == {"RequestError: no"}
    assert num_sequences(together) == sum(len(entry["targets"]) for entry in entries)


async def test_the_content_of_a_request_decides_whether_it_is_logged():
    a_third = CallLogConfig(share=1 / 3)
    first = await logged(CallLog(a_third), *MANY)
    again = await logged(CallLog(a_third), *(replace(one, role=Role.test) for one in MANY[::-1]))
    seeds = [entry["parameters"]["seed"] for entry in first]
    assert seeds == [entry["parameters"]["seed"] for entry in again][::-1]
    # Three standard deviations of a binomial around a third.
    assert abs(len(seeds) - len(MANY) / 3) < 3 * (len(MANY) * 2 / 9) ** 0.5


@pytest.mark.parametrize(("share", "num_logged"), [(0.0, 0), (1.0, len(MANY))])
async def test_none_or_all_can_be_logged(share, num_logged):
    assert len(await logged(CallLog(CallLogConfig(share=share)), *MANY)) == num_logged


async def test_a_request_is_logged_alone_as_in_a_list():
    half = CallLogConfig(share=0.5)
    alone = await logged(CallLog(half), *MANY)
    listed = await logged(CallLog(half), RequestList(tuple(MANY)), engine=Lists())
    assert [e["parameters"] for e in alone] == [e["parameters"] for e in listed]


async def test_beyond_the_bound_calls_are_counted(monkeypatch):
    monkeypatch.setattr(call_log, "MAX_ENTRIES", 3)
    log = everything()
    model = Logged(SimulatedModel(FixedWorld()), log, "toy")
    for request in MANY[:5]:
        await model.send(request)
    entries, num_left_out = log.take()
    assert (len(entries), num_left_out) == (3, 2)
    assert len(await logged(log, *MANY[:2])) == 2


async def test_no_text_holds_the_key(monkeypatch):
    monkeypatch.setenv("TOY_KEY", f"{KEY}\n")
    log = everything()
    request = replace(
        SCORE,
        messages=(Message("user", f"My key is {KEY}."),),
        targets=(f"{KEY}", "Tokyo"),
    )
    engine = Saying(Choice(f"You said {KEY}", (-1.0,)))
    entries = await logged(log, request, replace(GENERATE, stop=(KEY,)), engine=engine)
    with pytest.raises(RequestError):
        await Logged(Failing(f"wrong key {KEY}"), log, "toy").send(request)
    for entry in entries + log.take()[0]:
        assert KEY not in json.dumps(entry)
        assert "***" in json.dumps(entry)


async def test_a_cut_leaves_no_beginning_of_a_key(monkeypatch):
    monkeypatch.setenv("TOY_KEY", KEY)
    request = replace(GENERATE, messages=(Message("user", f"abcd{KEY}"),))
    [entry] = await logged(everything(max_chars=8), request)
    assert entry["messages"][0]["text"] == "abcd***"


async def test_long_texts_are_cut_and_say_by_how_much():
    request = replace(GENERATE, messages=(Message("user", "x" * 30), *QUESTION))
    [entry] = await logged(everything(max_chars=25), request)
    shown = [message["text"] for message in entry["messages"]]
    assert shown == ["x" * 25 + " … (5 more characters)", QUESTION[0].text]


async def test_what_a_call_is_made_for_is_told_however_little_of_its_texts_is_kept():
    [entry] = await logged(everything(max_chars=1), GENERATE)
    assert (entry["kind"], entry["role"]) == ("generation", "forward")
    assert list(entry["parameters"]) == ["logprobs", "max_tokens", "seed", "stop", "temperature"]


async def test_what_no_file_can_hold_is_replaced():
    engine = Saying(Choice("half a \ud83d", (float("nan"),)))
    [entry] = await logged(everything(), GENERATE, engine=engine)
    assert entry["answers"][0]["text"] == "half a ?"
    assert entry["answers"][0]["logprob"] is None
    json.dumps(entry, ensure_ascii=False, allow_nan=False).encode()


async def test_a_cancelled_call_has_no_outcome_to_log():
    class Silent:
        async def send(self, request: object) -> Response:
            await anyio.sleep_forever()
            raise AssertionError

    log = everything()
    with anyio.move_on_after(0):
        await Logged(Silent(), log, "toy").send(GENERATE)
    assert log.take() == ([], 0)


async def test_the_log_travels_to_another_process_without_the_key(monkeypatch):
    monkeypatch.setenv("TOY_KEY", KEY)
    sent = pickle.dumps(everything())
    assert KEY.encode() not in sent
    request = replace(GENERATE, messages=(Message("user", KEY),))
    [entry] = await logged(pickle.loads(sent), request)
    assert entry["messages"][0]["text"] == "***"


@pytest.mark.parametrize("values", [{"share": -0.1}, {"share": 1.5}, {"max_chars": 0}])
def test_senseless_settings_are_refused(values):
    with pytest.raises(ConfigError, match=r"call_log\."):
        CallLogConfig(**values)
