"""The weights of a local model in float32 torch: what its log-probs should be."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dln_core.llm.local.tokens import Tokens


class TorchReference:
    """The upstream file, dequantised; one text at a time.

    Args:
        folder: Folder of the pulled model, which holds the upstream file.
        num_threads: Threads of torch.
    """

    def __init__(self, folder: Path, num_threads: int) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        self._torch: Any = importlib.import_module("torch")
        self._torch.set_num_threads(num_threads)
        models = importlib.import_module("transformers").AutoModelForCausalLM
        (path,) = folder.glob("*.gguf")
        self._model = models.from_pretrained(
            str(folder), gguf_file=path.name, dtype=self._torch.float32
        ).eval()

    def logprobs(self, tokens: Tokens) -> NDArray[np.float64]:
        """Return the log-probs (nats) of all tokens of a text but the first."""
        given = self._torch.tensor(tokens.astype(np.int64))
        with self._torch.inference_mode():
            logits = self._model(given[None, :-1]).logits[0]
            chosen = logits.gather(1, given[1:, None])[:, 0]
            found: NDArray[np.float64] = (chosen - logits.logsumexp(1)).double().numpy()
        return found
