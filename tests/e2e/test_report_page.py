"""The report of a real sweep in a real browser."""

from __future__ import annotations

import pytest

from orchestrator.report import write_report
from tests.browser import browser_page, needs_chromium
from tests.recorded import plan_sweep, record_sweep

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
async def report_url(tmp_path_factory):
    plan = plan_sweep(
        tmp_path_factory.mktemp("report"), ["triage", "routing"], ["dln1", "dln2"], [13, 42]
    )
    write_report(plan, await record_sweep(plan), None)
    return f"file://{plan.out_dir / 'report.html'}"


async def test_a_report_opens_offline_with_its_tables_and_plots_and_without_errors(report_url):
    async with browser_page(report_url) as page:
        assert (page.errors, page.requests) == ([], [report_url])
        results = await page.text("#results-table")
        assert all(word in results for word in ("triage", "routing", "dln1", "dln2", "2 seeds"))
        differences = await page.text("#differences-table")
        assert differences.count("against") == 3
        assert "significant difference" in differences
        # Dev accuracy and ELBO by step and by tokens, and test accuracy by tokens, of two tasks.
        assert await page.driver.locator("svg.plot").count() == 10
        assert await page.driver.locator("ol.lineage li").count() >= 2
        assert "before and after training" in await page.text()


async def test_a_table_sorted_by_test_is_called_exploratory(report_url):
    async with browser_page(report_url) as page:
        headings = page.driver.locator("#trials th button")
        names = await headings.all_inner_texts()
        assert not await page.driver.locator("#exploratory").is_visible()
        await headings.nth(names.index("after")).click()
        await page.wait_for("#exploratory")
        place = names.index("after") + 1
        cells = await page.driver.locator(f"#trials td:nth-child({place})").all_inner_texts()
        values = [float(cell.split()[0]) for cell in cells]
        assert values == sorted(values, reverse=True)
        await headings.nth(names.index("dev")).click()
        assert not await page.driver.locator("#exploratory").is_visible()
        assert page.errors == []


@pytest.mark.parametrize("dark", [False, True])
async def test_plots_take_the_colours_of_the_page_and_fit_a_phone(report_url, dark):
    async with browser_page(report_url, width=390, height=844, dark=dark) as page:
        ink = "getComputedStyle(document.querySelector('svg.plot text')).fill"
        paper = "getComputedStyle(document.body).backgroundColor"
        sums = []
        for expression in (ink, paper):
            color = await page.driver.evaluate(expression)
            sums.append(sum(int(part) for part in color.strip("rgb()").split(",")))
        assert (sums[0] > sums[1]) == dark
        assert abs(sums[0] - sums[1]) > 300
        widths = "[document.documentElement.scrollWidth, window.innerWidth]"
        assert len(set(await page.driver.evaluate(widths))) == 1
