"""The shipped settings of language models."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from dln_core.config import LLMConfig, PriceConfig
from orchestrator.settings.compose import Composer, opened

CONF = Path(__file__).parents[3] / "conf" / "llm"
GROUPS = sorted(path.stem for path in CONF.glob("*.yaml"))
HOSTED = ("openai", "azure", "anthropic")
NEEDED = {
    "openai_compatible": ("llm.model=m", "llm.base_url=http://host/v1"),
    "llama_cpp": ("llm.model=m",),
    "azure": ("llm.model=gpt-4.1", "llm.base_url=https://name.openai.azure.com/openai/v1"),
}


@cache
def composed(group: str, *more: str) -> LLMConfig:
    arguments = [f"llm={group}", *NEEDED.get(group, ()), *more]
    return Composer().compose(opened(["task=navigate", "network=dln1", *arguments]))[0].llm


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_gives_whole_settings(group):
    assert composed(group).model


def test_no_two_services_are_given_the_same_key():
    services = [group for group in GROUPS if composed(group).provider not in ("local", "simulated")]
    # The general group and the service that it is named after share one.
    names = [composed(group).api_key_env for group in services if group != "openai_compatible"]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("group", GROUPS)
def test_prices_are_known_of_what_costs_nothing_and_of_the_models_in_the_tables(group):
    config = composed(group)
    if group == "openai_compatible":
        assert config.known_price == PriceConfig()
    elif group in HOSTED:
        for model in config.prices:
            price = replace(config, model=model).known_price
            assert 0 < (price.prompt_usd_per_million or 0) < (price.completion_usd_per_million or 0)
    else:
        free = PriceConfig(prompt_usd_per_million=0, completion_usd_per_million=0)
        assert config.known_price == free


@pytest.mark.parametrize("model", ["gpt-4o-2024-05-13", "gpt-4o-mini-2031-01-01", "gpt"])
def test_a_model_that_is_not_in_the_table_has_an_unknown_price(model):
    assert replace(composed("openai"), model=model).known_price == PriceConfig()


def test_a_price_that_is_set_goes_before_the_table():
    price = ("llm.price.prompt_usd_per_million=1", "llm.price.completion_usd_per_million=2")
    known = composed("openai", *price).known_price
    assert (known.prompt_usd_per_million, known.completion_usd_per_million) == (1, 2)


def test_the_remedies_that_errors_name_are_taken_by_the_command_line():
    config = composed(
        "openai",
        "llm.omit=[temperature,stop,max_tokens,logprobs]",
        "llm.extra.max_completion_tokens=4096",
        "llm.extra.chat_template_kwargs={enable_thinking:false}",
    )
    assert config.omit == ["temperature", "stop", "max_tokens", "logprobs"]
    assert config.extra["max_completion_tokens"] == 4096
    assert config.extra["chat_template_kwargs"] == {"enable_thinking": False}
