"""A network behind MLflow's ``predict``; MLflow keeps this file as the code of the model.

The language model is reached as in the trial.  ``DLN_LLM_PROVIDER``, ``DLN_LLM_MODEL`` and
``DLN_LLM_BASE_URL`` replace what was used there; its key is read from the same variable as there.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

import dln_core
from dln_core.config import LLMConfig

REPLACEABLE = ("provider", "model", "base_url")


class ServedNetwork(PythonModel):
    """Answers the texts of the column ``input``; ``labels`` are the answers to choose from."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the network and how its language model is reached."""
        config = context.model_config
        named = {name: os.environ.get(f"DLN_LLM_{name.upper()}") for name in REPLACEABLE}
        replaced = {name: value for name, value in named.items() if value}
        self._llm = LLMConfig(**{**config["llm"], **replaced})
        self._labels = tuple(config["labels"])
        self._network = dln_core.load_network(context.artifacts["network"], tools=config["tools"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[str]:
        """Answer the inputs in their order."""
        labels = (params or {}).get("labels", self._labels)
        inputs = [str(text) for text in model_input["input"]]
        answer = partial(dln_core.predict, self._network, inputs, llm=self._llm, labels=labels)
        # A server or a notebook may have an event loop running in this thread.
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(anyio.run, answer).result()


mlflow.models.set_model(ServedNetwork())
