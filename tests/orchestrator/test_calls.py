"""The files of logged calls, and what is shown of them."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from dln_core.config import CallLogConfig, LLMConfig
from dln_core.errors import JournalError, LLMError
from dln_core.llm import retry
from dln_core.llm.call_log import CallLog
from dln_core.llm.simulated import InContextReader
from dln_core.trial import Services
from orchestrator import calls
from orchestrator.actor import Order, TrialActor
from orchestrator.call_files import CALLS_FILE, append_calls, read_calls
from orchestrator.calls import gather_calls, show_calls
from orchestrator.cluster.materials import Materials
from orchestrator.comparison import baseline_of
from orchestrator.journal import Journal
from orchestrator.planning.plan import Plan
from orchestrator.resuming import Begun
from tests.servers import serve


def call(time: float, **parts) -> dict:
    """An entry as an actor hands it over."""
    return {
        "time": time,
        "duration_s": 0.25,
        "model": "toy",
        "list_size": 1,
        "role": "dev",
        "kind": "generation",
        "messages": [{"role": "user", "text": f"Question {time:g}"}],
        "parameters": {"max_tokens": 8},
        "targets": [],
        "error": None,
        "answers": [
            {"text": f"Answer {time:g}", "logprob": None, "num_tokens": None,
             "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    } | parts  # fmt: skip


def scoring(time: float, **logprobs: float) -> dict:
    answers = [
        {"text": text, "logprob": logprob, "num_tokens": 1, "finish_reason": "stop"}
        for text, logprob in logprobs.items()
    ]
    return call(time, kind="scoring", targets=list(logprobs), answers=answers)


def taken(*entries: dict, num_left_out: int = 0) -> dict:
    return {"entries": list(entries), "num_left_out": num_left_out}


@pytest.fixture
def plan(toy_plan) -> Plan:
    """A plan of two trials whose folder holds a sweep."""
    made = toy_plan(13, 42)
    with Journal.locked(made.out_dir):
        return made


@pytest.fixture
def add(plan):
    """Log calls for one of the plan's trials, as the driver does."""

    def add_to(index: int, *entries: dict, **kwargs) -> None:
        path = Journal(plan.out_dir).folder(plan.trials[index].trial_id) / CALLS_FILE
        append_calls(path, taken(*entries, **kwargs), {"epoch": 1, "step": 0})

    return add_to


def embedded(page: Path) -> list[dict]:
    """The calls that a page holds."""
    text = page.read_text()
    return json.loads(text.split('type="application/json">')[1].split("</script>")[0])


def test_lines_read_back_with_their_stamp(tmp_path):
    path = tmp_path / "trials" / "t" / CALLS_FILE
    append_calls(path, taken(call(1), call(2)), {"epoch": 1, "step": 0})
    append_calls(path, taken(call(3), num_left_out=5), {"epoch": 2, "step": 4})
    assert list(read_calls(path)) == [
        {"epoch": 1, "step": 0, **call(1)},
        {"epoch": 1, "step": 0, **call(2)},
        {"epoch": 2, "step": 4, **call(3)},
        {"epoch": 2, "step": 4, "num_left_out": 5},
    ]


def test_where_nothing_was_logged_there_is_no_file(tmp_path):
    path = tmp_path / "trials" / "t" / CALLS_FILE
    append_calls(path, taken(), {})
    assert not path.parent.exists()
    assert list(read_calls(path)) == []


@pytest.mark.parametrize("rest", [b'{"time": 2', b"\0\0\0"])
def test_half_a_line_is_left_out_and_cut_by_the_next_call(tmp_path, rest):
    path = tmp_path / CALLS_FILE
    append_calls(path, taken(call(1)), {})
    with path.open("ab") as file:
        file.write(rest)
    assert [line["time"] for line in read_calls(path)] == [1]
    append_calls(path, taken(call(3)), {})
    assert [line["time"] for line in read_calls(path)] == [1, 3]


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / CALLS_FILE
    append_calls(path, taken(call(1)), {})
    with path.open("ab") as file:
        file.write(b"nonsense\n")
    with pytest.raises(JournalError, match=r"line 2 of .*calls\.jsonl is broken; delete"):
        list(read_calls(path))


def test_calls_of_all_trials_and_reference_points_stand_in_order_of_time(plan, add):
    add(1, call(3), call(1))
    add(0, call(4), num_left_out=2)
    journal = Journal(plan.out_dir)
    path = journal.baseline_calls(baseline_of(plan, plan.trials[0]))
    append_calls(path, taken(call(2), num_left_out=1), {})
    found = gather_calls(plan, journal)
    assert [(each["time"], each["trial"]) for each in found.latest] == [
        (1, "triage dln1 42"), (2, "baselines triage"), (3, "triage dln1 42"),
        (4, "triage dln1 13"),
    ]  # fmt: skip
    assert (found.num_calls, found.num_left_out) == (4, 3)


def test_only_the_latest_calls_are_on_the_page_and_it_says_so(plan, add, monkeypatch):
    monkeypatch.setattr(calls, "MAX_ON_PAGE", 3)
    add(0, *(call(time) for time in (5, 1, 4, 2)))
    add(1, call(3), num_left_out=7)
    assert show_calls(plan) == 0
    page = plan.out_dir / "calls.html"
    assert [each["time"] for each in embedded(page)] == [5, 4, 3]
    assert "latest 3 of 5 logged calls" in page.read_text()
    assert "7 more were too many" in page.read_text()


def test_the_latest_calls_are_printed_with_what_came_back(plan, add, capsys):
    add(0, call(1), scoring(2, Urgent=-0.125, Normal=-2.0), call(3, error="RequestError: no way"))
    add(1, call(4, list_size=6, usage=None))
    assert show_calls(plan) == 0
    printed = capsys.readouterr().out
    for text in (
        "latest 4 of 4", "triage dln1 13", "Answer 1", "7 + 3", "0.25", "-0.12 nats: Urgent",
        "RequestError: no way", "generation (list of 6)", f"calls: {plan.out_dir}/calls.html",
    ):  # fmt: skip
        assert text in printed


def test_nothing_that_a_model_wrote_becomes_markup(plan, add, capsys):
    evil = '</script><script>alert(1)</script><img src="x">&amp;\u2028[bold]'
    add(0, call(1, error=evil, messages=[{"role": "user", "text": evil}]))
    show_calls(plan)
    text = (plan.out_dir / "calls.html").read_text()
    assert evil not in text
    assert "<img" not in text
    assert text.count("</script>") == 2
    assert embedded(plan.out_dir / "calls.html")[0]["messages"][0]["text"] == evil
    assert "[bold]" in capsys.readouterr().out


@pytest.mark.parametrize("sign", ["src=", "href=", "@import", "url(", "http://", "https://"])
def test_the_page_loads_nothing(plan, add, sign):
    add(0, call(1))
    show_calls(plan)
    assert sign not in (plan.out_dir / "calls.html").read_text()


def test_without_a_logged_call_one_sentence_says_how_to_log_them(plan, capsys):
    assert show_calls(plan) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert "call_log=all" in printed
    assert not (plan.out_dir / "calls.html").exists()


def test_whether_calls_are_logged_changes_no_trial(toy_plan):
    silent, logging = toy_plan(), toy_plan(call_log=CallLogConfig(share=1.0))
    assert [trial.trial_id for trial in silent.trials] == [
        trial.trial_id for trial in logging.trials
    ]


async def run_unit(actor: TrialActor) -> dict:
    """Do the first unit of work and hand over what was logged, as the driver has it done."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(actor.hold, {})
        try:
            await actor.advance(Order(state="null"))
        except LLMError:
            pass
        finally:
            taken = json.loads(await actor.calls())
            await actor.close()
    return taken


def actor_of(plan: Plan, call_log: CallLog | None) -> TrialActor:
    services = Services(
        limits=plan.run.limits, cache=plan.run.cache, store="toy", call_log=call_log
    )
    settings = plan.trials[0].settings
    return TrialActor("t", 1, settings, services, Begun(), Materials.read(settings))


ALL_CALLS = CallLogConfig(share=1.0)


async def test_an_actor_hands_over_the_calls_of_its_unit_of_work_once(toy_plan):
    actor = actor_of(toy_plan(), CallLog(ALL_CALLS))
    logged = await run_unit(actor)
    assert len(logged["entries"]) == 8  # the items of the dev split
    assert {entry["role"] for entry in logged["entries"]} == {"dev"}
    assert json.loads(await actor.calls()) == {"entries": [], "num_left_out": 0}


async def test_what_is_stored_is_not_sent_for_and_so_not_logged_again(toy_plan):
    plan = toy_plan()
    assert (await run_unit(actor_of(plan, CallLog(ALL_CALLS))))["entries"]
    assert not (await run_unit(actor_of(plan, CallLog(ALL_CALLS))))["entries"]


async def test_without_a_log_nothing_is_handed_over(toy_plan):
    assert await run_unit(actor_of(toy_plan(), None)) == {"entries": [], "num_left_out": 0}


async def test_what_ended_a_trial_is_in_the_log(toy_plan, monkeypatch):
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 0.005)
    nowhere = LLMConfig(provider="openai_compatible", model="m", base_url="http://127.0.0.1:9/v1")
    entries = (await run_unit(actor_of(toy_plan(llm=nowhere), CallLog(ALL_CALLS))))["entries"]
    # The probe tries more than once, and each attempt stands by itself.
    assert len(entries) > 1
    assert all("no answer from http://127.0.0.1:9/v1" in entry["error"] for entry in entries)


async def test_no_key_reaches_the_log_of_a_real_endpoint(toy_plan, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    async with serve(InContextReader(), required_key="another") as server:
        llm = LLMConfig(provider="openai_compatible", model="m", base_url=server.base_url)
        log = CallLog(ALL_CALLS, {llm.api_key_env})
        entries = (await run_unit(actor_of(toy_plan(llm=llm), log)))["entries"]
    assert server.num_requests == len(entries) > 0
    assert "sk-very-secret" not in json.dumps(entries)
