"""The engine on real weights: sharing changes the cost of an answer, never the answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dln_core.errors import LLMError, WeightsError
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.generation import GenerateJob, GenerateTask
from dln_core.llm.local.scoring import ScoreJob, ScoreTask
from dln_core.llm.local.tokens import Tokens

pytestmark = pytest.mark.slow

SHOWN = [("The parcel never came.", "Urgent"), ("Thank you for the fast help!", "Normal")] * 4


def conversation(engine: LocalEngine, text: str, num_shown: int = 8) -> Tokens:
    turns = []
    for message, label in SHOWN[:num_shown]:
        turns.append({"role": "user", "content": f"Message: {message}\nLabel:"})
        turns.append({"role": "assistant", "content": label})
    turns.append({"role": "user", "content": f"Message: {text}\nLabel:"})
    return engine.tokenizer.encode(engine.tokenizer.render_chat(turns))


def encode(engine: LocalEngine, *texts: str) -> tuple[Tokens, ...]:
    return tuple(engine.tokenizer.encode(text) for text in texts)


def echoed(engine: LocalEngine, context: Tokens, target: Tokens) -> list[float]:
    whole = np.concatenate([context, target])
    return list(engine.echo(whole).logprobs[len(context) :])


def test_shared_scores_equal_plain_echo(engine: LocalEngine) -> None:
    targets = encode(engine, "Urgent", "Normal", "I would call this one urgent.")
    texts = ["Where is my order?", "All fine here, and greetings to the whole team of yours.", "Hi"]
    jobs = [
        ScoreJob(conversation(engine, text, num_shown), targets)
        for num_shown in (4, 0)
        for text in texts
    ]
    for job, scores in zip(jobs, engine.score(jobs), strict=True):
        for target, logprobs in zip(job.targets, scores, strict=True):
            expected = echoed(engine, job.context, target)
            np.testing.assert_allclose(logprobs, expected, atol=1e-3)


def test_a_score_does_not_depend_on_what_was_scored_before(engine: LocalEngine) -> None:
    job = ScoreJob(conversation(engine, "Where is my order?"), encode(engine, "Urgent", "Normal"))
    first = engine.score([job])
    engine.score([ScoreJob(conversation(engine, "Something else"), job.targets)] * 3)
    second = engine.score([job])
    np.testing.assert_allclose(np.concatenate(first[0]), np.concatenate(second[0]), atol=1e-3)


def test_many_targets_of_one_context_are_all_scored(engine: LocalEngine) -> None:
    context = conversation(engine, "Where is my order?", num_shown=1)
    targets = encode(engine, *[f"Answer number {i}" for i in range(40)])
    scores = engine.score([ScoreJob(context, targets)])[0]
    assert [len(logprobs) for logprobs in scores] == [len(target) for target in targets]
    np.testing.assert_allclose(scores[39], echoed(engine, context, targets[39]), atol=1e-3)


def test_long_texts_are_read_in_steps_without_a_seam(engine: LocalEngine) -> None:
    text = " ".join(f"Line {i} tells of ship {i * i} and its captain." for i in range(70))
    tokens = engine.tokenizer.encode(text)[:800]
    assert len(tokens) > 700
    logprobs = engine.echo(tokens).logprobs
    np.testing.assert_allclose(engine.echo(tokens[:300]).logprobs, logprobs[:300], atol=1e-3)
    job = ScoreJob(tokens[:650], (tokens[650:], tokens[650:655]))
    long, short = engine.score([job])[0]
    np.testing.assert_allclose(long, logprobs[650:], atol=1e-3)
    np.testing.assert_allclose(short, logprobs[650:655], atol=1e-3)


def test_rounded_activations_stay_near_full_precision(
    engine: LocalEngine, small_model: Path
) -> None:
    fast = LocalEngine(small_model)
    targets = encode(engine, "Urgent", "Normal", "Please call back")
    jobs = [ScoreJob(conversation(engine, f"Order {i} is late"), targets) for i in range(8)]
    exact = np.concatenate([np.concatenate(s) for s in engine.score(jobs)])
    rounded = np.concatenate([np.concatenate(s) for s in fast.score(jobs)])
    assert np.abs(exact - rounded).mean() < 0.2


def test_no_token_is_more_probable_than_the_best_one(engine: LocalEngine) -> None:
    context = conversation(engine, "Hello", num_shown=0)
    some = tuple(np.array([token], dtype=np.int32) for token in range(0, 48_000, 1000))
    echo = engine.echo(np.concatenate([context, some[0]]))
    ((token, logprob),) = echo.top[-1]
    best = np.array([token], dtype=np.int32)
    *scores, top = engine.score([ScoreJob(context, (*some, best))])[0]
    assert top[0] == pytest.approx(logprob, abs=1e-3)
    assert all(logprobs[0] <= top[0] for logprobs in scores)


def jobs_of_seeds(engine: LocalEngine, *seeds: int) -> list[GenerateJob]:
    turn = {"role": "user", "content": "Write a short poem about the sea."}
    context = engine.tokenizer.encode(engine.tokenizer.render_chat([turn]))
    return [
        GenerateJob(context=context, max_tokens=16, temperature=1.0, seed=(seed,)) for seed in seeds
    ]


def test_equal_seeds_give_equal_texts_and_different_seeds_differ(engine: LocalEngine) -> None:
    texts = [made.text for made in engine.generate(jobs_of_seeds(engine, 1, 2, 1, 3))]
    assert texts[0] == texts[2]
    assert len(set(texts)) == 3


def test_a_sample_does_not_depend_on_its_batch(engine: LocalEngine) -> None:
    together = engine.generate(jobs_of_seeds(engine, 1, 2, 3, 4))
    alone = engine.generate(jobs_of_seeds(engine, 3))
    assert alone[0].text == together[2].text


def test_an_answer_does_not_depend_on_who_joins(engine: LocalEngine) -> None:
    first, *others = [GenerateTask(job, engine.tokenizer) for job in jobs_of_seeds(engine, 1, 2, 3)]
    score = ScoreTask(ScoreJob(conversation(engine, "Hello"), encode(engine, "Urgent", "Normal")))
    engine.scheduler.add(first.readings)
    for joining in (*others, score):
        for _ in range(3):
            engine.scheduler.step()
        engine.scheduler.add(joining.readings)
    while not engine.scheduler.is_idle:
        engine.scheduler.step()
    for task in (first, *others):
        (alone,) = engine.generate([task.job])
        assert task.result().tokens == alone.tokens
        np.testing.assert_allclose(task.result().logprobs, alone.logprobs, atol=1e-3)
    (alone_score,) = engine.score([score.job])
    np.testing.assert_allclose(
        np.concatenate(score.result()), np.concatenate(alone_score), atol=1e-3
    )


def test_greedy_tokens_are_the_most_probable_ones(engine: LocalEngine) -> None:
    context = conversation(engine, "Where is my order?", num_shown=2)
    other = conversation(engine, "A text of quite another length, to pad the first", num_shown=1)
    jobs = [GenerateJob(context=c, max_tokens=12, num_top=1) for c in (context, other)]
    for job, made in zip(jobs, engine.generate(jobs), strict=True):
        assert made.tokens == tuple(token for ((token, _),) in made.top)
        expected = echoed(engine, job.context, np.array(made.tokens, dtype=np.int32))
        np.testing.assert_allclose(made.logprobs, expected, atol=1e-3)


def test_a_stop_string_ends_the_text_before_it(engine: LocalEngine) -> None:
    turn = {"role": "user", "content": "Count from one to ten in digits, with commas."}
    context = engine.tokenizer.encode(engine.tokenizer.render_chat([turn]))
    free = engine.generate([GenerateJob(context=context, max_tokens=24)])[0]
    stop = free.text[5:8]
    cut = engine.generate([GenerateJob(context=context, max_tokens=24, stop=(stop,))])[0]
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish_reason == "stop"


def test_text_survives_tokens_and_back(engine: LocalEngine) -> None:
    text = "Größe: 5 €\n\tthe 🐈 sleeps  twice"
    assert engine.tokenizer.decode(engine.tokenizer.encode(text).tolist()) == text


def test_the_assistant_turn_begins_at_a_token_boundary(engine: LocalEngine) -> None:
    rendered = engine.tokenizer.render_chat([{"role": "user", "content": "Hi"}])
    context, target = encode(engine, rendered, "Urgent")
    joined = engine.tokenizer.encode(rendered + "Urgent")
    np.testing.assert_array_equal(np.concatenate([context, target]), joined)


def test_a_stopped_engine_refuses_work(small_model: Path) -> None:
    engine = LocalEngine(small_model)
    engine.stop()
    with pytest.raises(LLMError, match="stopped"):
        engine.generate(jobs_of_seeds(engine, 1))


def test_a_folder_without_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="pull the model again"):
        LocalEngine(tmp_path)
