"""The best network of each task in MLflow's registries: as a model, and prompt by prompt."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dln_core
from orchestrator.files import to_json
from orchestrator.planning.plan import PlannedTrial
from orchestrator.tracking.pages import prompt_text
from orchestrator.tracking.store import Store
from orchestrator.tracking.tasks import TaskBook
from orchestrator.tracking.values import flat_params

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

Network = dict[str, Any]

ALIAS = "best"
DIGEST_TAG = "dln.digest"
# The prompts of MLflow's pages are those that carry the number of their experiment.
EXPERIMENTS_TAG = "_mlflow_experiment_ids"
# Leads from a model of a run to its page in the registry.
VERSIONS_TAG = "mlflow.modelVersions"
MODEL_CODE = Path(__file__).with_name("served_network.py")
# What dln_core imports; the model brings dln_core itself along.
REQUIREMENTS = (
    "mlflow", "aiohttp", "anyio", "jinja2", "numpy", "orjson", "platformdirs", "pyyaml",
    "scikit-learn", "scipy",
)  # fmt: skip


def registered_name(*parts: str) -> str:
    """Join names to one that MLflow's registries allow."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", ".".join(parts))


class Registry:
    """Registers networks; one that is registered already only gets the alias.

    Args:
        store: Where models and prompts go.
        sweep: Name of the sweep, with which all names begin.
        tasks: The tasks that networks were trained on.
    """

    def __init__(self, store: Store, sweep: str, tasks: TaskBook) -> None:
        self._store = store
        self._sweep = sweep
        self._tasks = tasks

    def publish(self, trial: PlannedTrial, run_id: str, network: Network) -> None:
        """Register the network of a finished trial as the best of its task.

        Args:
            trial: The trial.
            run_id: Its run.
            network: What its ``network.json`` holds.

        Raises:
            TrackingError: If the store is away.
        """
        self._publish_model(trial, run_id, network)
        task = trial.settings.task.name
        for layer in network["layers"]:
            prompts = layer.get("prompts", ())
            for number, prompt in enumerate(prompts, start=1):
                parts = [self._sweep, task, layer["name"]]
                parts += [str(number)] if len(prompts) > 1 else []
                self._publish_prompt(registered_name(*parts), prompt_text(prompt), trial)

    def _publish_model(self, trial: PlannedTrial, run_id: str, network: Network) -> None:
        client, name = self._store.client, registered_name(self._sweep, trial.settings.task.name)
        tags = _tags(trial, run_id + to_json(network))
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, {"sweep": self._sweep})
        version = _find(client.search_model_versions(f"name = '{name}'"), tags)
        if version is None:
            model = self._logged_model(trial, run_id, network, tags)
            version = client.create_model_version(
                name, model.artifact_location, run_id, tags=tags, model_id=model.model_id
            )
            link = to_json([{"name": name, "version": version.version}])
            client.set_logged_model_tags(model.model_id, {VERSIONS_TAG: link})
        client.set_registered_model_alias(name, ALIAS, version.version)

    def _publish_prompt(self, name: str, text: str, trial: PlannedTrial) -> None:
        client, tags = self._store.client, _tags(trial, text)
        if client.get_prompt(name) is None:
            about = {"sweep": self._sweep, EXPERIMENTS_TAG: f",{self._store.experiment_id},"}
            client.create_prompt(name, tags=about)
        version = _find(client.search_prompt_versions(name), tags)
        if version is None:
            version = client.create_prompt_version(name, escaped(text), tags=tags)
        client.set_prompt_alias(name, ALIAS, version.version)

    def _logged_model(
        self, trial: PlannedTrial, run_id: str, network: Network, tags: dict[str, str]
    ) -> LoggedModel:
        """Return the network as a model of its run, which is made where there is none."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        client, experiment_id = self._store.client, self._store.experiment_id
        query = f"tags.`{DIGEST_TAG}` = '{tags[DIGEST_TAG]}'"
        for model in client.search_logged_models([experiment_id], query):
            if model.source_run_id == run_id and model.status == LoggedModelStatus.READY:
                return model
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            self._save(trial, network, path)
            about = flat_params(trial.settings)
            model = client.create_logged_model(experiment_id, "network", run_id, tags, about)
            client.log_model_artifacts(model.model_id, str(path))
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
        return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)

    def _save(self, trial: PlannedTrial, network: Network, path: Path) -> None:
        import mlflow.pyfunc

        # It asks for an example, with which it would call the language model.
        warnings.filterwarnings("ignore", module=r"mlflow\.pyfunc")
        labels = list(self._tasks.facts(trial.settings).labels)
        document = path.with_name("network.json")
        document.write_text(json.dumps(network, ensure_ascii=False, indent=2) + "\n", "utf-8")
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(MODEL_CODE),
            artifacts={"network": str(document)},
            model_config={"llm": _llm(trial), "labels": labels, "tools": _tools(trial)},
            code_paths=[str(Path(dln_core.__file__).parent)],
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            signature=_signature(labels),
        )


def escaped(text: str) -> str:
    """Part the braces that MLflow would read as a variable or as Jinja."""
    return re.sub(r"\{(?=[{%])", "{ ", text)


def _find(versions: Iterable[Any], tags: dict[str, str]) -> Any:
    """Return the version of a model or prompt that was made of the same; None if there is none."""
    return next((one for one in versions if one.tags.get(DIGEST_TAG) == tags[DIGEST_TAG]), None)


def _tags(trial: PlannedTrial, content: str) -> dict[str, str]:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {"trial_id": trial.trial_id, "trial": trial.name, DIGEST_TAG: digest}


def _llm(trial: PlannedTrial) -> dict[str, Any]:
    """How the model is reached; the name of the variable that holds the key, never the key."""
    settings = asdict(trial.settings.llm)
    return {name: settings[name] for name in settings if name not in ("price", "prices")}


def _tools(trial: PlannedTrial) -> list[str]:
    return [tool for layer in trial.settings.network.layers for tool in layer.tools]


def _signature(labels: list[str]) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    choices = [ParamSpec("labels", DataType.string, labels, (-1,))] if labels else []
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "input")]),
        outputs=Schema([ColSpec(DataType.string)]),
        params=ParamSchema(choices),
    )
