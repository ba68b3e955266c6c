"""Kills parts of a sweep under way and compares what comes out with an undisturbed run.

Run: ``python -m tests.e2e.chaos [--moments N] [--kinds …]``: each part is killed at N random
moments, all in a trial that is under way; the table says how many texts were asked for again.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dln_core.llm.remote_store import MAX_UNSENT
from tests.clusters import kill, processes_below, raylet_of
from tests.e2e.counting_server import num_repeats
from tests.e2e.sweeping import DEADLINE_S, MAX_CONCURRENCY, Sweep, processes_of, sweep_in

TRIAL = "TrialActor"
OUTAGE_S = 3.0
# The node of a trial dies within a second, in which the trial may end.
MOST_ATTEMPTS = 3
LOOK_PAUSE_S = 0.03
# Texts that may be asked for again after a kill: as many again may be answered and in the commit
# that is under way, and as many wait for it; a node may have some that the driver's lacks.
MOST_AGAIN = 3 * MAX_CONCURRENCY
MOST_AGAIN_BEYOND = {"node": MAX_UNSENT}

Kill = Callable[[], object]


def kills_of_a_node(sweep: Sweep, _driver: subprocess.Popen[str]) -> list[Kill]:
    """Nodes with a trial, and all that runs there; not the first, which is the driver's."""
    others = sweep.nodes[1:]
    return [partial(kill, node) for node in others if processes_below(raylet_of(node), TRIAL)]


def kills_of_the_endpoint(sweep: Sweep, _driver: subprocess.Popen[str]) -> list[Kill]:
    """The language model, which comes back."""

    def restart() -> None:
        sweep.endpoint.kill()
        time.sleep(OUTAGE_S)
        sweep.endpoint.start()

    return [restart]


# What can be killed at a moment, all without notice.
KILLS: dict[str, Callable[[Sweep, subprocess.Popen[str]], list[Kill]]] = {
    "actor": lambda sweep, driver: [one.kill for one in processes_of(sweep, driver, TRIAL)],
    "driver": lambda _sweep, driver: [driver.kill],
    "limiter": lambda sweep, driver: [one.kill for one in processes_of(sweep, driver, "Limiter")],
    "node": kills_of_a_node,
    "endpoint": kills_of_the_endpoint,
}
ENDS_A_TRIAL = ("actor", "driver", "node")


def kills_under_way(
    sweep: Sweep, driver: subprocess.Popen[str], kind: str, num_events: int
) -> list[Kill]:
    """Wait until all actors are in the midst of a trial, after some events; return what to kill.

    Raises:
        TimeoutError: If the sweep ends or stands still before.
    """
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and driver.poll() is None:
        if sweep.num_events() >= num_events:
            num_actors = len(processes_of(sweep, driver, TRIAL))
            kills = KILLS[kind](sweep, driver)
            if kills and 0 < num_actors <= sweep.num_under_way():
                return kills
        time.sleep(LOOK_PAUSE_S)
    raise TimeoutError(f"nothing to kill in a trial after {num_events} events")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a kill changed: nothing, and how many texts were asked for again."""

    kind: str
    moment: int
    equal: bool
    num_again: int

    @property
    def is_good(self) -> bool:
        """Whether results are the same and no stored answer was asked for again."""
        most = MOST_AGAIN + MOST_AGAIN_BEYOND.get(self.kind, 0)
        return self.equal and self.num_again <= most


def undisturbed(folder: Path) -> Sweep:
    """Run the sweep without a kill."""
    with sweep_in(folder) as sweep:
        code = sweep.finish(sweep.start())
        assert code == 0, sweep.said[-1]
    return sweep


def disturbed(folder: Path, kind: str, seed: int, calm: Sweep) -> Verdict:
    """Run the sweep with one kill at a random moment of a trial, and again until it is through.

    Raises:
        TimeoutError: If no kill came before the trial that it was meant for had ended.
    """
    for attempt in range(MOST_ATTEMPTS):
        rng = random.Random(f"{kind} {seed} {attempt}")
        verdict = _disturbed(folder / str(attempt), kind, rng, calm)
        if verdict is not None:
            return verdict
    raise TimeoutError(f"{MOST_ATTEMPTS} kills came when their trials had just ended")


def _disturbed(folder: Path, kind: str, rng: random.Random, calm: Sweep) -> Verdict | None:
    with sweep_in(folder, on_three_nodes=kind == "node") as sweep:
        driver = sweep.start()
        # Later there may be no trial under way any more before it is noticed.
        moment = rng.randrange(1, calm.num_events() * 3 // 4)
        kills_under_way(sweep, driver, kind, moment)
        time.sleep(rng.random() * 0.2)
        rng.choice(kills_under_way(sweep, driver, kind, moment))()
        code = sweep.finish(driver)
        if code != 0:
            code = sweep.finish(sweep.start())
        assert code == 0, "\n".join(sweep.said)
    if kind in ENDS_A_TRIAL and not sweep.has_begun_anew():
        return None
    num_again = num_repeats(sweep.endpoint.log) - num_repeats(calm.endpoint.log)
    return Verdict(kind, moment, sweep.outcome() == calm.outcome(), num_again)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Kill every part at every moment and print what it changed; 0 if results are all equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--kinds", nargs="+", choices=tuple(KILLS), default=list(KILLS))
    options = parser.parse_args()
    all_good = True
    with tempfile.TemporaryDirectory() as root:
        calm = undisturbed(Path(root) / "calm")
        num_texts = len(calm.endpoint.log.read_text().splitlines())
        repeats = num_repeats(calm.endpoint.log)
        say(f"undisturbed: {calm.num_events()} events, {num_texts} texts, {repeats} of them again")
        for kind in options.kinds:
            for seed in range(options.moments):
                folder = Path(root) / f"{kind}{seed}"
                verdict = disturbed(folder, kind, seed, calm)
                all_good &= verdict.is_good
                result = "equal" if verdict.equal else "DIFFERENT"
                say(
                    f"{kind:9} after event {verdict.moment:3}: results {result}, "
                    f"{verdict.num_again} texts asked for again"
                )
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
