"""What sharing prefixes saves: scored pairs a CPU-second, shared against plain, in one run.

A pair is one target after one context, as in training: every candidate prompt, with its worked
examples, is scored on every input.  Run: ``python benchmarks/local_engine.py --model NAME``.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dln_core.llm.local.engine import LocalEngine
from dln_core.llm.local.generation import GenerateJob
from dln_core.llm.local.scoring import ScoreJob
from dln_core.llm.local.tokens import Tokens
from dln_core.llm.local.weights import pull

LABELS = ("Urgent", "Normal")
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


def conversation(engine: LocalEngine, prompt: int, item: int) -> Tokens:
    """Return the context of one input after one prompt with eight worked examples."""
    turns = []
    for shown in range(8):
        number = 31 * prompt + shown
        text = f"Message: customer {number} says that parcel {7 * number} came late and damaged"
        turns.append({"role": "user", "content": f"{text}\nLabel:"})
        turns.append({"role": "assistant", "content": LABELS[number % 2]})
    text = f"Message: I want to know where order {13 * item} is, from shop {item % 7}"
    turns.append({"role": "user", "content": f"{text}\nLabel:"})
    return engine.tokenizer.encode(engine.tokenizer.render_chat(turns))


def bench_scoring(engine: LocalEngine, num_prompts: int, num_inputs: int) -> None:
    """Score all inputs after all prompts, and some of them plainly; print both."""
    targets = tuple(engine.tokenizer.encode(label) for label in LABELS)
    jobs = [
        ScoreJob(conversation(engine, prompt, item), targets)
        for prompt in range(num_prompts)
        for item in range(num_inputs)
    ]
    shared: list[list[list[float]]] = []
    plain: list[tuple[float, ...]] = []
    chosen = range(0, len(jobs), max(1, len(jobs) // 6))

    def score() -> None:
        shared.extend(engine.scorer.score(jobs))

    def echo() -> None:
        for index in chosen:
            for target in targets:
                whole = np.concatenate([jobs[index].context, target])
                plain.append(engine.echoer.echo(whole).logprobs[-len(target) :])

    show("score, shared prefix", len(jobs) * len(targets), measure(score), "pairs")
    show("score, plain echo", len(chosen) * len(targets), measure(echo), "pairs")
    ours = [np.array(logprobs) for index in chosen for logprobs in shared[index]]
    differences = np.abs(np.concatenate(ours) - np.concatenate([np.array(p) for p in plain]))
    print(
        f"{num_prompts} prompts x {num_inputs} inputs x {len(targets)} labels, contexts of "
        f"{len(jobs[0].context)} tokens; difference a token: mean {differences.mean():.4f}, "
        f"largest {differences.max():.4f} nats"
    )


def bench_generation(engine: LocalEngine, batch_size: int) -> None:
    """Generate a batch of continuations and print the rate."""
    turn = {"role": "user", "content": "Tell a long story about a ship, a storm and a lighthouse."}
    context = engine.tokenizer.encode(engine.tokenizer.render_chat([turn]))
    jobs = [
        GenerateJob(context=context, max_tokens=GENERATED_TOKENS, temperature=0.7, seed=(seed,))
        for seed in range(batch_size)
    ]
    sampled: list[int] = []
    cost = measure(
        lambda: sampled.extend(made.num_sampled for made in engine.generator.generate(jobs))
    )
    show(f"generate, batch of {batch_size}", sum(sampled), cost, "tokens")


def show(name: str, count: int, cost: Cost, unit: str) -> None:
    """Print one line of the table."""
    rates = f"{count / cost.cpu_s:8.2f} {unit}/CPU-s {count / cost.wall_s:8.2f} {unit}/s"
    print(f"{name:24} {count:6d} {unit:6} {cost.cpu_s:8.2f} CPU-s {rates}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=6)
    parser.add_argument("--inputs", type=int, default=20)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--exact", action="store_true")
    options = parser.parse_args()
    folder = pull(options.model)
    started = time.perf_counter()
    engine = LocalEngine(folder, options.threads, exact=options.exact)
    print(f"{options.model} loaded in {time.perf_counter() - started:.1f} s")
    bench_scoring(engine, options.prompts, options.inputs)
    for batch_size in (1, 8, 32):
        bench_generation(engine, batch_size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB")


if __name__ == "__main__":
    main()
