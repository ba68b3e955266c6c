"""Exported networks as DSPy modules; where DSPy is not installed, what is said then."""

from __future__ import annotations

import importlib.util
import runpy

import anyio.to_thread
import pytest

from dln_core.config import LLMConfig
from dln_core.errors import ConfigError
from dln_core.export.dspy_file import dspy_source
from dln_core.graph import Slot
from dln_core.llm.capabilities import Route
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.simulated import InContextReader
from dln_core.types import Demonstration, Prompt, Role
from tests.core.test_export import EXAMPLE, built
from tests.servers import serve

HAS_DSPY = importlib.util.find_spec("dspy") is not None
needs_dspy = pytest.mark.skipif(not HAS_DSPY, reason="DSPy is not installed")


def networks():
    indented = Prompt("Rules:\n    - say \"Odd\" or 'Even'\n  - {input}\n'''", ())
    shown = (Demonstration("Item: 3", "Odd"), Demonstration("Item: é4", "Even"))
    one, two = built("dln1"), built("dln2")
    yield one.with_prompt(Slot(0, 0), indented)
    yield one.with_prompt(Slot(0, 0), Prompt("", shown))
    yield two.with_prompt(Slot(1, 0), Prompt("Name the parity.", shown))
    yield built("self_consistency")
    yield built("reflexion")


@needs_dspy
@pytest.mark.slow
async def test_a_dspy_module_asks_and_answers_as_the_network_does(tmp_path):
    import dspy

    async with serve(InContextReader()) as server:
        config = LLMConfig(
            provider="openai_compatible", model="simulated", base_url=server.base_url
        )
        lm = dspy.LM(
            "openai/simulated", api_base=server.base_url, api_key="none", cache=False, num_retries=0
        )
        for network in networks():
            async with open_session(config) as session:
                endpoint = Endpoint(config, session, Route("chat", "monte_carlo"))
                trace = await network.run(endpoint, EXAMPLE, role=Role.forward)
            asked = [seen.body for seen in server.seen]
            server.seen.clear()
            module = loaded(network, tmp_path)

            def answer(module=module):
                with dspy.context(lm=lm):
                    return module(input=EXAMPLE.input)

            prediction = await anyio.to_thread.run_sync(answer)
            assert prediction.answer == trace.prediction
            assert tuple(prediction.texts.values()) == trace.texts
            sent = [seen.body for seen in server.seen]
            assert sorted(map(wording, sent)) == sorted(map(wording, asked))
            server.seen.clear()


def wording(body):
    """A request as text; DSPy has another name for the bound on tokens."""
    body = body | {"max_tokens": body.get("max_completion_tokens", body.get("max_tokens"))}
    return str([body[key] for key in ("model", "messages", "max_tokens", "temperature", "seed")])


def loaded(network, folder):
    path = folder / "program.py"
    path.write_text(dspy_source(network, "m"), encoding="utf-8")
    return runpy.run_path(str(path))["network"]


@needs_dspy
@pytest.mark.slow
def test_dspy_sees_and_saves_what_was_learned(tmp_path):
    network = built("dln2").with_prompt(
        Slot(1, 0), Prompt("Name the parity.", (Demonstration("Item: 3", "Odd"),))
    )
    module = loaded(network, tmp_path)
    names = dict(module.named_predictors())
    assert [name.split("'")[1] for name in names] == ["thoughts", "output"]
    output = list(names.values())[1]
    assert output.signature.instructions == "Name the parity."
    assert output.demos[0]["text"] == "Odd"
    module.save(str(tmp_path / "state.json"))
    again = loaded(built("dln2"), tmp_path)
    again.load(str(tmp_path / "state.json"))
    assert next(reversed(again.predictors())).signature.instructions == "Name the parity."


@needs_dspy
def test_what_dspy_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match="layer observation consists of tools"):
        dspy_source(built("react"), "m")


@pytest.mark.skipif(HAS_DSPY, reason="DSPy is installed")
def test_without_dspy_it_is_said_how_to_install_it():
    with pytest.raises(ConfigError, match=r"pip install 'dln\[dspy\]'"):
        dspy_source(built("dln1"), "m")
