"""Carries out a plan: what is missing is run, recorded, and shown; what is there is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.to_thread

from dln_core.config import LLMConfig
from dln_core.errors import BudgetError, JournalError
from dln_core.llm.call_log import CallLog
from dln_core.trial import Services
from orchestrator.accounts import NOTHING
from orchestrator.baseline_driver import compute_baselines
from orchestrator.budget import Budget, check_prices
from orchestrator.cluster.answers import answers_kept
from orchestrator.cluster.local_server import serve, served_models
from orchestrator.cluster.materials import MaterialsStore
from orchestrator.cluster.node_servers import serving_on_nodes
from orchestrator.cluster.ray_cluster import ActorLostError, Cluster, connect, remote_errors
from orchestrator.comparison import gather
from orchestrator.failures import EndpointWatch, describe, listed, summarize
from orchestrator.groups import first_of
from orchestrator.halving import Halving
from orchestrator.interrupts import ending_at_once_if_repeated
from orchestrator.jobs import BaselineJob, Job, is_open, open_jobs
from orchestrator.journal import Journal
from orchestrator.limiter.remote import RemoteLimiters
from orchestrator.memory import share_arenas
from orchestrator.metrics import SweepMetrics
from orchestrator.planning.plan import Plan, PlannedTrial, write_plan
from orchestrator.report import write_report
from orchestrator.results import write_results
from orchestrator.summary import TrialSummary
from orchestrator.terminal.console import console, say
from orchestrator.terminal.progress import SweepProgress
from orchestrator.terminal.table import ResultTable
from orchestrator.terminal.views import view_of
from orchestrator.tracking import Tracker, TrackingFeed, say_where
from orchestrator.trial_driver import Observer, Site, TrialDriver
from orchestrator.trial_journal import TrialJournal
from orchestrator.used_before import used_beside

POLL_PAUSE_S = 1.0


async def run_plan(plan: Plan, started_s: float | None = None) -> int:
    """Run or resume a plan and return the exit code: 0 if all trials finished, else 1.

    What is cancelled on the way can be resumed: all that was done is on disk.

    Args:
        plan: The plan.
        started_s: When the seconds of its budget began, on the monotonic clock; None for now.

    Raises:
        ConfigError: If a budget cannot be kept.
        JournalError: If another driver owns the output folder, or it cannot be written.
        TrackingError: If the tracking store cannot be used at the start or at the end.
        ClusterError: If Ray cannot be used.
        LLMError: If the local model cannot be served.
    """
    share_arenas()
    try:
        with ending_at_once_if_repeated():
            return await _run_plan(plan, started_s)
    except ExceptionGroup as group:
        raise first_of(group) from group
    except BaseExceptionGroup as group:
        if group.subgroup(SystemExit) is None:
            raise
        # It has left the event loop before, which now cancels what is left of it; any other end
        # would be logged with all its tracebacks.
        raise anyio.get_cancelled_exc_class() from group


async def _run_plan(plan: Plan, started_s: float | None) -> int:
    check_prices("budget", plan.run.budget, _models(plan))
    check_prices("budget.trial", plan.run.budget.trial, _models(plan))
    with Journal.locked(plan.out_dir) as journal:
        write_plan(plan)
        tracker = await anyio.to_thread.run_sync(Tracker, plan, journal)
        journals = await anyio.to_thread.run_sync(_recovered, plan, journal)
        summaries = {key: each.summary for key, each in journals.items()}
        jobs = open_jobs(plan, journal, summaries)
        failures: list[str] = []
        try:
            if jobs:
                run = _Run(plan, journal, journals, tracker, started_s)
                failures = await run.carry_out(jobs)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_write_files, plan, journal, summaries, tracker)
        return await _conclude(plan, journal, journals, tracker, failures)


def _recovered(plan: Plan, journal: Journal) -> dict[str, TrialJournal]:
    journals = {}
    for trial in plan.trials:
        recovered = journals[trial.trial_id] = journal.recover(trial.trial_id)
        if not is_open(recovered.summary, plan.run.budget):
            recovered.release()
    return journals


def _models(plan: Plan) -> list[LLMConfig]:
    return [llm for trial in plan.trials for llm in trial.settings.models]


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
    console.print(ResultTable(gather(plan, journal, summaries)))
    for failure in failures:
        say(failure)
    say(f"results: {plan.out_dir / 'results.csv'}, report: {plan.out_dir / 'report.html'}")
    await anyio.to_thread.run_sync(tracker.complete, journals)
    say_where(plan, tracker)
    statuses = [summary.status for summary in summaries.values()]
    num_open = sum(status in ("failed", "unfinished") for status in statuses)
    if num_open:
        say(f"{num_open} of {len(statuses)} trials are not finished; the same command tries again")
    return 0 if all(status == "finished" for status in statuses) and not failures else 1


class _Run:
    """The part of a run that needs a cluster and a language model."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        journals: Mapping[str, TrialJournal],
        tracker: Tracker,
        started_s: float | None,
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._journals = journals
        self._started_s = started_s
        self._feed = TrackingFeed(tracker)
        self._watch = EndpointWatch()
        self._failures: dict[str, list[str]] = {}
        self._not_begun: dict[str, list[str]] = {}
        self._kept: dict[str, list[str]] = {}
        self._stopped: list[str] = []

    async def carry_out(self, jobs: list[Job]) -> list[str]:
        """Do the jobs, as many at once as ``cluster.max_trials``; return what failed."""
        models = served_models(job.settings for job in jobs)
        num_trials = sum(isinstance(job, PlannedTrial) for job in jobs)
        address = self._plan.run.cluster.address
        begun = f"starting {', '.join([*models, 'Ray'])}"
        if address is not None:
            begun = f"joining the cluster at {address}"
        say(f"{num_trials} of {len(self._plan.trials)} trials to go; {begun}")
        # Nodes of a cluster serve for themselves, see ``NodeServers``.
        served_here = models if address is None else []
        async with serve(served_here) as addresses, self._site(jobs, addresses) as site:
            places = anyio.Semaphore(self._plan.run.cluster.max_trials)
            async with anyio.create_task_group() as helpers:
                helpers.start_soon(self._feed.run)
                async with anyio.create_task_group() as tasks:
                    for job in jobs:
                        await places.acquire()
                        if self._watch.verdict is not None:
                            break
                        tasks.start_soon(self._do, job, site, places)
                helpers.cancel_scope.cancel()
        if self._watch.verdict is not None:
            return [f"stopped, because the language model is of no use: {self._watch.verdict}"]
        for bound, names in self._kept.items():
            say(f"{listed(names)} as tested before: {bound} does not leave another step")
        not_begun = [
            f"{listed(names)} not begun: {bound} does not leave what is needed at least; the same "
            "command with a larger budget goes on"
            for bound, names in self._not_begun.items()
        ]
        return [*summarize(self._failures), *self._stopped, *not_begun]

    def _unaffordable(self, job: Job) -> dict[str, list[str]]:
        """Where the names of jobs like this go by the bound that forbids them."""
        is_trial = isinstance(job, PlannedTrial)
        is_tested = is_trial and self._journals[job.key].summary.status == "finished"
        return self._kept if is_tested else self._not_begun

    @asynccontextmanager
    async def _site(self, jobs: list[Job], addresses: dict[str, str]) -> AsyncIterator[Site]:
        run, journals = self._plan.run, self._journals
        summaries = {key: each.summary for key, each in journals.items()}
        progress = SweepProgress(self._plan, summaries, run.cluster.max_trials)
        services = Services(
            limits=run.limits,
            backward_limits=run.backward_limits,
            cache=run.cache,
            store=self._journal.id,
            limiters=RemoteLimiters(),
            call_log=self._call_log(),
        )
        models = served_models(job.settings for job in jobs)
        trials = [job for job in jobs if isinstance(job, PlannedTrial)]
        async with AsyncExitStack() as stack:
            cluster = stack.enter_context(connect(run.cluster, self._key_names()))
            for resources in {repr(trial.resources): trial.resources for trial in trials}.values():
                cluster.check_resources(resources)
            _say_dashboard(cluster)
            kept = answers_kept(cluster, run.cache, self._journal.id)
            services.source = await stack.enter_async_context(kept)
            serving = serving_on_nodes(cluster, models, addresses)
            view = view_of(run.output, progress)
            metrics = SweepMetrics(self._plan.sweep, summaries)
            observers: tuple[Observer, ...] = (progress, self._feed, self._watch, view, metrics)
            halving = Halving.of(self._plan, summaries)
            if halving is not None:
                observers = (*observers, halving)
            site = Site(
                cluster=cluster,
                max_deaths=run.cluster.max_retries,
                services=services,
                servers=await stack.enter_async_context(serving),
                materials=MaterialsStore(cluster),
                budget=self._budget(),
                observers=observers,
                pruner=halving,
            )
            with view:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(metrics.run)
                    if view.wants_counters:
                        tasks.start_soon(_poll, site, progress)
                    yield site
                    tasks.cancel_scope.cancel()

    def _call_log(self) -> CallLog | None:
        config = self._plan.run.call_log
        return CallLog(config, self._key_names()) if config.share else None

    def _key_names(self) -> set[str]:
        return {llm.api_key_env for llm in _models(self._plan)}

    def _budget(self) -> Budget:
        trials = self._plan.trials
        so_far = [(trial, self._journals[trial.trial_id].summary) for trial in trials]
        config = self._plan.run.budget
        planned = {trial.trial_id for trial in trials}
        before = used_beside(self._journal, planned) if config.bounds() else NOTHING
        return Budget(config, so_far, self._started_s, before)

    async def _do(self, job: Job, site: Site, places: anyio.Semaphore) -> None:
        try:
            await self._within_budget(job, site)
        except JournalError:
            raise
        except BudgetError as error:
            self._stopped.append(f"{job.name} {error}")
        except Exception as error:  # the trial boundary: the other jobs go on
            self._watch.failed(error)
            self._failures.setdefault(describe(error), []).append(job.name)
        finally:
            places.release()

    async def _within_budget(self, job: Job, site: Site) -> None:
        if isinstance(job, BaselineJob):
            site.budget.open(job.key, job.expected, job.trials)
        exhausted = await site.budget.begin(job.key)
        if exhausted is not None:
            self._unaffordable(job).setdefault(str(exhausted), []).append(job.name)
            return
        try:
            if isinstance(job, BaselineJob):
                await compute_baselines(job, self._plan.run.baselines, self._journal, site)
            else:
                await TrialDriver(job, self._journals[job.key], site).run()
        finally:
            site.budget.end(job.key)
            if isinstance(job, PlannedTrial):
                self._journals[job.key].release()


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
