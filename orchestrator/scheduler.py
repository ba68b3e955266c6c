"""Carries out a plan: what is missing is run, recorded, and shown; what is there is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from dln_core.config import LLMConfig, TrialSettings
from dln_core.errors import JournalError
from dln_core.llm.call_log import CallLog
from dln_core.trial import Services
from orchestrator.actor import BaselineActor
from orchestrator.budget import Budget, check_prices
from orchestrator.call_files import collecting_calls
from orchestrator.cluster import ActorLostError, Cluster, connect, remote_errors
from orchestrator.comparison import baseline_of, gather
from orchestrator.console import console, say
from orchestrator.failures import EndpointWatch, describe, summarize
from orchestrator.groups import first_of
from orchestrator.journal import Journal, TrialJournal
from orchestrator.local_server import serve, served_models, with_addresses
from orchestrator.plan import Plan, PlannedTrial, write_plan
from orchestrator.progress import PlainLines, SweepProgress, live_view
from orchestrator.report import write_report
from orchestrator.results import write_results
from orchestrator.summary import TrialSummary
from orchestrator.table import result_table
from orchestrator.tracking import Tracker, say_where
from orchestrator.tracking_feed import TrackingFeed
from orchestrator.trial_driver import Observer, Site, TrialDriver

POLL_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class BaselineJob:
    """Reference points that are missing; ``name`` is readable."""

    baseline_id: str
    name: str
    settings: TrialSettings


Job = BaselineJob | PlannedTrial


async def run_plan(plan: Plan) -> int:
    """Run or resume a plan and return the exit code: 0 if all trials finished, else 1.

    What is cancelled on the way can be resumed: all that was done is on disk.

    Raises:
        ConfigError: If a budget cannot be kept.
        JournalError: If another driver owns the output folder, or it cannot be written.
        TrackingError: If the tracking store cannot be used at the start or at the end.
        ClusterError: If Ray cannot be used.
        LLMError: If the local model cannot be served.
    """
    try:
        return await _run_plan(plan)
    except ExceptionGroup as group:
        raise first_of(group) from group


async def _run_plan(plan: Plan) -> int:
    check_prices(plan.run, _models(plan))
    with Journal.locked(plan.out_dir) as journal:
        write_plan(plan)
        tracker = await anyio.to_thread.run_sync(Tracker, plan, journal)
        journals = {
            trial.trial_id: await anyio.to_thread.run_sync(journal.recover, trial.trial_id)
            for trial in plan.trials
        }
        summaries = {key: each.summary for key, each in journals.items()}
        jobs = _missing(plan, journal, summaries)
        failures: list[str] = []
        try:
            if jobs:
                failures = await _Run(plan, journal, journals, tracker).carry_out(jobs)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_write_files, plan, journal, summaries, tracker)
        return await _conclude(plan, journal, journals, tracker, failures)


def _models(plan: Plan) -> list[LLMConfig]:
    each = (trial.settings for trial in plan.trials)
    used = ((one.llm, one.backward_llm, one.judge_llm) for one in each)
    return [llm for models in used for llm in models if llm is not None]


def _missing(plan: Plan, journal: Journal, summaries: Mapping[str, TrialSummary]) -> list[Job]:
    """List what is to be done, reference points before the first trial shown beside them."""
    jobs: list[Job] = []
    seen: set[str] = set()
    has_points = bool(plan.run.baselines)
    for trial in plan.trials:
        key = baseline_of(plan, trial)
        if has_points and key not in seen and journal.read_baselines(key) is None:
            name = f"baselines {trial.settings.task.name}"
            jobs.append(BaselineJob(key, name, trial.settings))
        seen.add(key)
        if summaries[trial.trial_id].status != "finished":
            jobs.append(trial)
    return jobs


def _write_files(
    plan: Plan, journal: Journal, summaries: Mapping[str, TrialSummary], tracker: Tracker
) -> None:
    results = gather(plan, journal, summaries)
    write_results(plan.out_dir, results)
    write_report(plan, results, tracker.compare_url())


async def _conclude(
    plan: Plan,
    journal: Journal,
    journals: Mapping[str, TrialJournal],
    tracker: Tracker,
    failures: list[str],
) -> int:
    summaries = {key: each.summary for key, each in journals.items()}
    console.print(result_table(gather(plan, journal, summaries)))
    for failure in failures:
        say(failure)
    say(f"results: {plan.out_dir / 'results.csv'}, report: {plan.out_dir / 'report.html'}")
    await anyio.to_thread.run_sync(tracker.complete, journals)
    say_where(plan, tracker)
    num_open = sum(summary.status != "finished" for summary in summaries.values())
    if num_open:
        say(f"{num_open} of {len(summaries)} trials are not finished; the same command tries again")
    return 1 if num_open or failures else 0


class _Run:
    """The part of a run that needs a cluster and a language model."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        journals: Mapping[str, TrialJournal],
        tracker: Tracker,
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._journals = journals
        self._feed = TrackingFeed(tracker)
        self._watch = EndpointWatch()
        self._failures: dict[str, list[str]] = {}

    async def carry_out(self, jobs: list[Job]) -> list[str]:
        """Do the jobs, as many at once as ``cluster.max_trials``; return what failed."""
        models = served_models(job.settings for job in jobs)
        num_trials = sum(isinstance(job, PlannedTrial) for job in jobs)
        started = ", ".join([*models, "Ray"])
        say(f"{num_trials} of {len(self._plan.trials)} trials to go; starting {started}")
        async with serve(models) as addresses, self._site(jobs) as site:
            places = anyio.Semaphore(self._plan.run.cluster.max_trials)
            async with anyio.create_task_group() as helpers:
                helpers.start_soon(self._feed.run)
                async with anyio.create_task_group() as tasks:
                    for job in jobs:
                        await places.acquire()
                        if self._watch.verdict is not None:
                            break
                        tasks.start_soon(self._do, job, addresses, site, places)
                helpers.cancel_scope.cancel()
        if self._watch.verdict is not None:
            return [f"stopped, because the language model is of no use: {self._watch.verdict}"]
        return summarize(self._failures)

    @asynccontextmanager
    async def _site(self, jobs: list[Job]) -> AsyncIterator[Site]:
        run, journals = self._plan.run, self._journals
        summaries = {key: each.summary for key, each in journals.items()}
        progress = SweepProgress(self._plan, summaries, run.cluster.max_trials)
        services = Services(
            limits=run.limits,
            backward_limits=run.backward_limits,
            cache=run.cache,
            store=self._journal.id,
            share=min(run.cluster.max_trials, len(jobs)),
            call_log=self._call_log(),
        )
        with connect(run.cluster) as cluster:
            _say_dashboard(cluster)
            observers: tuple[Observer, ...] = (progress, self._feed, self._watch)
            if not console.is_terminal:
                observers = (*observers, PlainLines(console, progress))
            site = Site(
                cluster=cluster,
                max_deaths=run.cluster.max_retries,
                services=services,
                budget=self._budget(),
                observers=observers,
            )
            if not console.is_terminal:
                yield site
                return
            with live_view(console, progress):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_poll, site, progress)
                    yield site
                    tasks.cancel_scope.cancel()

    def _call_log(self) -> CallLog | None:
        config = self._plan.run.call_log
        key_names = {llm.api_key_env for llm in _models(self._plan)}
        return CallLog(config, key_names) if config.share else None

    def _budget(self) -> Budget:
        summaries = [each.summary for each in self._journals.values()]
        budget = Budget(self._plan.run.budget, summaries)
        for key in {baseline_of(self._plan, trial) for trial in self._plan.trials}:
            for row in (self._journal.read_baselines(key) or [])[:1]:
                budget.add(row)
        return budget

    async def _do(
        self, job: Job, addresses: dict[str, str], site: Site, places: anyio.Semaphore
    ) -> None:
        settings = with_addresses(job.settings, addresses)
        try:
            if isinstance(job, BaselineJob):
                await self._compute_baselines(job, settings, site)
            else:
                journal = self._journals[job.trial_id]
                await TrialDriver(job, settings, journal, site).run()
        except JournalError:
            raise
        except Exception as error:  # the trial boundary: the other jobs go on
            self._watch.failed(error)
            self._failures.setdefault(describe(error), []).append(job.name)
        finally:
            places.release()

    async def _compute_baselines(
        self, job: BaselineJob, settings: TrialSettings, site: Site
    ) -> None:
        actor = site.cluster.start_actor(
            BaselineActor, f"{job.name} · {job.baseline_id[:6]}", job.name, site.services
        )
        path = self._journal.baseline_calls(job.baseline_id)
        try:
            async with collecting_calls(actor, site.services, path, {}):
                with remote_errors():
                    rows = await actor.run.remote(settings, self._plan.run.baselines)
        finally:
            site.cluster.stop_actor(actor)
        await anyio.to_thread.run_sync(self._journal.write_baselines, job.baseline_id, rows)
        for row in rows[:1]:  # every row carries the usage of all
            site.budget.add(row)


def _say_dashboard(cluster: Cluster) -> None:
    if cluster.dashboard_url:
        say(f"Ray dashboard: http://{cluster.dashboard_url} (token: `ray get-auth-token`)")


async def _poll(site: Site, progress: SweepProgress) -> None:
    """Ask the living actors for their counters from time to time, for the live table alone."""
    while True:
        await anyio.sleep(POLL_PAUSE_S)
        for trial_id, actor in list(site.actors.items()):
            with anyio.move_on_after(POLL_PAUSE_S):
                try:
                    with remote_errors():
                        progress.counted(trial_id, await actor.progress.remote())
                except ActorLostError:
                    continue  # its driver notices, and starts another
