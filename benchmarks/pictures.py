"""The pictures of the report in ``docs/images``, from a simulated sweep in headless Chromium.

Run from the root of the repository: ``python -m benchmarks.pictures``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio

from dln_core.config import DataConfig, TrainerConfig
from orchestrator.report import write_report
from tests.browser import browser_page
from tests.recorded import plan_sweep, record_sweep

IMAGES = Path(__file__).parents[1] / "docs" / "images"
TASKS, NETWORKS, SEEDS = ["triage", "routing"], ["zero_shot", "dln1", "dln2"], [13, 42, 7]
TRAINER = TrainerConfig(num_iterations=8, batch_size=12, num_prompts=10, num_hidden=3)
DATA = DataConfig(max_dev=60, max_test=120)


async def main() -> None:
    """Run the sweep and take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        plan = plan_sweep(
            Path(folder), TASKS, NETWORKS, SEEDS, trainer=TRAINER, data=DATA, sweep="simulated"
        )
        write_report(plan, await record_sweep(plan), None)
        url = f"file://{plan.out_dir / 'report.html'}"
        async with browser_page(url, height=1180) as page:
            await page.screenshot(IMAGES / "report.png")
        async with browser_page(url, height=1100, dark=True) as page:
            top = "document.getElementById('tasks').scrollIntoView()"
            await page.driver.evaluate(top)
            await page.screenshot(IMAGES / "report-task.png")


if __name__ == "__main__":
    anyio.run(main)
