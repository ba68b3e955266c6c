"""Models whose whole distribution is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dln_core.llm.base import GenerateRequest, ScoreRequest
from dln_core.llm.simulated import OUTSIDE_LOG_PROB, InContextReader, SimulatedModel
from dln_core.types import Message
from tests.core.llm.toys import CITIES, GENERATE, QUESTION, FixedWorld

NUM_SAMPLES = 3000
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)


async def samples(temperature: float) -> list[str]:
    model = SimulatedModel(FixedWorld())
    drawn = []
    for seed in range(NUM_SAMPLES):
        request = replace(GENERATE, temperature=temperature, seed=seed)
        drawn.append((await model.send(request)).choices[0].text)
    return drawn


async def test_equal_requests_get_equal_answers_from_different_models():
    for seed in range(20):
        request = replace(GENERATE, temperature=1.0, seed=seed)
        first = await SimulatedModel(FixedWorld()).send(request)
        assert await SimulatedModel(FixedWorld()).send(request) == first


async def test_different_seeds_draw_different_texts():
    assert set(await samples(1.0)) == set(CITIES)


async def test_one_seed_draws_independently_for_different_questions():
    model = SimulatedModel(FixedWorld())
    drawn = set()
    for number in range(50):
        messages = (Message("user", f"Question {number}"),)
        request = GenerateRequest(messages=messages, max_tokens=8, temperature=1.0, seed=7)
        drawn.add((await model.send(request)).choices[0].text)
    assert drawn == set(CITIES)


async def test_temperature_zero_takes_the_most_probable_text_whatever_the_seed():
    assert set(await samples(0.0)) == {"Tokyo"}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
async def test_samples_are_as_frequent_as_they_are_probable(temperature):
    drawn = await samples(temperature)
    weights = {text: p ** (1 / temperature) for text, p in CITIES.items()}
    expected = [NUM_SAMPLES * weight / sum(weights.values()) for weight in weights.values()]
    observed = [drawn.count(text) for text in CITIES]
    assert stats.chisquare(observed, expected).pvalue > 0.001


async def test_scores_are_the_log_probabilities_of_the_world():
    request = ScoreRequest(messages=QUESTION, targets=tuple(CITIES))
    response = await SimulatedModel(FixedWorld()).send(request)
    scored = {choice.text: math.exp(choice.logprob) for choice in response.choices}
    assert scored == pytest.approx(CITIES)


async def test_a_text_has_one_log_prob_a_word():
    request = ScoreRequest(messages=QUESTION, targets=("Osaka Bay",))
    (choice,) = (await SimulatedModel(FixedWorld()).send(request)).choices
    assert len(choice.token_logprobs) == 2
    assert choice.mean_logprob == pytest.approx(math.log(0.1) / 2)


async def test_texts_outside_the_world_are_finite_and_the_longer_the_less_probable():
    request = ScoreRequest(messages=QUESTION, targets=("Oslo", "Oslo or Bergen"))
    short, long = (await SimulatedModel(FixedWorld()).send(request)).choices
    assert OUTSIDE_LOG_PROB > short.logprob > long.logprob > -math.inf


async def test_usage_counts_words():
    generated = await SimulatedModel(FixedWorld()).send(GENERATE)
    assert (generated.usage.prompt_tokens, generated.usage.completion_tokens) == (5, 1)


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(1, 100))
def test_the_readers_probabilities_sum_to_one_whatever_it_reads(texts, max_tokens):
    roles = ["user", "assistant"]
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(texts))
    for request in (
        GenerateRequest(messages=messages, max_tokens=max_tokens),
        ScoreRequest(messages=messages, targets=("a",)),
    ):
        probabilities = InContextReader().distribution(request)
        assert math.fsum(probabilities.values()) == pytest.approx(1.0)
        assert all(0.0 <= value <= 1.0 for value in probabilities.values())


def test_the_reader_prefers_the_answer_of_the_worked_example_like_the_question():
    shown = (
        Message("user", "Answer Red or Blue. The sky at noon"),
        Message("assistant", "Blue"),
        Message("user", "A ripe tomato in the garden"),
        Message("assistant", "Red"),
    )
    for question, answer in (("The sky at dawn, noon, night", "Blue"), ("A ripe tomato", "Red")):
        request = ScoreRequest(messages=(*shown, Message("user", question)), targets=(answer,))
        probabilities = InContextReader().distribution(request)
        assert max(probabilities, key=probabilities.__getitem__) == answer


def test_the_reader_answers_with_one_of_the_options_it_reads():
    request = ScoreRequest(
        messages=(Message("user", "Which?\n(A) red\n(B) blue"),), targets=("(A)",)
    )
    assert set(InContextReader().distribution(request)) == {"(A)", "(B)"}
