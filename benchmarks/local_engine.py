"""What the local engine costs and how near it comes to full precision, all measured in one run.

A pair is a target after a context, as in training: every candidate prompt is scored on every
input.  Run: ``python -m benchmarks.local_engine --model NAME``; ``--torch`` compares with the
same weights in full precision and needs the packages torch and transformers.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.torch_reference import TorchReference
from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.generation import GenerateJob
from dln_core.llm.local.scoring import ScoreJob
from dln_core.llm.local.tokens import Tokens
from dln_core.llm.local.weights import model_folder, pull

LABELS = ("Urgent", "Normal")
TARGETS = ("Urgent, call now", "Normal, no hurry")
TARGET_TOKENS = 3
NUM_PLAIN = 8
GENERATED_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of a measured piece of work."""

    cpu_s: float
    wall_s: float


def measure(work: Callable[[], None]) -> Cost:
    """Run some work and return what it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return Cost(time.process_time() - cpu, time.perf_counter() - wall)


def conversation(engine: LocalEngine, prompt: int, item: int, *, input_first: bool) -> Tokens:
    """Return the context of one input with one prompt, about 180 tokens."""
    shown = "\n".join(
        f"Customer {number} says parcel {7 * number} came late and damaged: {LABELS[number % 2]}"
        for number in range(31 * prompt, 31 * prompt + 8)
    )
    asked = f"I want to know where order {13 * item} is, from shop {item % 7}, and who has it"
    parts = (asked, shown) if input_first else (shown, asked)
    turn = {"role": "user", "content": "\n".join(parts) + "\nLabel:"}
    return engine.tokenizer.encode(engine.tokenizer.render_chat([turn]))


def make_jobs(
    engine: LocalEngine, num_prompts: int, num_inputs: int, *, input_first: bool
) -> list[ScoreJob]:
    """Return a job for every input after every prompt."""
    targets = [engine.tokenizer.encode(text)[:TARGET_TOKENS] for text in TARGETS]
    return [
        ScoreJob(
            conversation(engine, prompt, item, input_first=input_first),
            (targets[(prompt + item) % len(targets)],),
        )
        for prompt in range(num_prompts)
        for item in range(num_inputs)
    ]


def bench_scoring(engine: LocalEngine, jobs: list[ScoreJob], name: str) -> NDArray[np.float64]:
    """Score all jobs, print the rate, return the log-probs [jobs, TARGET_TOKENS]."""
    scores: list[list[list[float]]] = []
    cost = measure(lambda: scores.extend(engine.score(jobs)))
    show(f"score, {name}", len(jobs), cost, "pairs")
    return np.array([score[0] for score in scores])


def bench_echo(engine: LocalEngine, jobs: list[ScoreJob], name: str) -> NDArray[np.float64]:
    """Read every context and target anew, print the rate, return the log-probs."""
    found: list[tuple[float, ...]] = []

    def echo() -> None:
        for job in jobs:
            whole = np.concatenate([job.context, job.targets[0]])
            found.append(engine.echo(whole).logprobs[-TARGET_TOKENS:])

    show(f"{name}, plain echo", len(jobs), measure(echo), "pairs")
    return np.array(found)


def bench_torch(model: str, jobs: list[ScoreJob], threads: int) -> NDArray[np.float64]:
    """Read every context and target with torch, print the rate, return the log-probs."""
    reference = TorchReference(model_folder(model), threads)
    found: list[NDArray[np.float64]] = []
    wholes = [np.concatenate([job.context, job.targets[0]]) for job in jobs]
    cost = measure(
        lambda: found.extend(reference.logprobs(whole)[-TARGET_TOKENS:] for whole in wholes)
    )
    show("torch, full precision", len(jobs), cost, "pairs")
    return np.array(found)


def bench_generation(engine: LocalEngine, batch_size: int) -> None:
    """Generate a batch of continuations and print the rate."""
    turn = {"role": "user", "content": "Tell a long story about a ship, a storm and a lighthouse."}
    context = engine.tokenizer.encode(engine.tokenizer.render_chat([turn]))
    jobs = [
        GenerateJob(context=context, max_tokens=GENERATED_TOKENS, temperature=0.7, seed=(seed,))
        for seed in range(batch_size)
    ]
    sampled: list[int] = []
    cost = measure(lambda: sampled.extend(made.num_sampled for made in engine.generate(jobs)))
    show(f"generate, {batch_size} at a time", sum(sampled), cost, "tokens")


def show(name: str, count: int, cost: Cost, unit: str) -> None:
    """Print one line of the table."""
    rates = f"{count / cost.cpu_s:8.2f} {unit}/CPU-s {count / cost.wall_s:8.2f} {unit}/s"
    cores = cost.cpu_s / cost.wall_s
    print(f"{name:24} {count:6d} {unit:6} {cost.cpu_s:8.2f} CPU-s {rates} {cores:5.2f} cores")


def show_difference(name: str, found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """Print how far the log-probs of tokens lie apart."""
    apart = np.abs(found - expected)
    print(f"{name}: a token differs by {apart.mean():.4f} nats, at most {apart.max():.4f}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--exact", action="store_true", help="the engine's full precision")
    parser.add_argument("--torch", action="store_true", help="compare with torch in float32")
    options = parser.parse_args()
    started = time.perf_counter()
    engine = LocalEngine(pull(options.model), options.threads, exact=options.exact)
    print(f"{options.model} loaded in {time.perf_counter() - started:.1f} s")
    jobs = make_jobs(engine, options.prompts, options.inputs, input_first=False)
    # Little is shared where the input comes first: a part of them shows the rate.
    turned = make_jobs(engine, options.prompts, max(1, options.inputs // 5), input_first=True)
    print(
        f"{options.prompts} prompts x {options.inputs} inputs, contexts of "
        f"{len(jobs[0].context)} tokens, targets of {TARGET_TOKENS}"
    )
    chosen = slice(None, None, max(1, len(jobs) // NUM_PLAIN))
    # The first step of a new size prepares kernels that later ones use.
    engine.score(jobs[:1])
    scores = bench_scoring(engine, jobs, "prompt first")[chosen]
    bench_scoring(engine, turned, "input first")
    show_difference("shared against plain", scores, bench_echo(engine, jobs[chosen], "score"))
    if options.torch:
        expected = bench_torch(options.model, jobs[chosen], options.threads)
        show_difference("engine against torch", scores, expected)
    for batch_size in (1, 8, 32):
        bench_generation(engine, batch_size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB" + (", torch included" if options.torch else ""))


if __name__ == "__main__":
    main()
