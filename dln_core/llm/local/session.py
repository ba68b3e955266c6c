"""The compiled model and sessions on it: rows of tokens that share one attention memory.

A session is one inference request with its state (keys and values of all tokens that it has
read).  Rows are read in steps; a step may repeat, reorder or drop the rows of the step before, so
a prefix that many rows share is read once.  Logits are computed at the wanted positions alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dln_core.errors import LLMError
from dln_core.llm.local.extra import local_extra
from dln_core.llm.local.tokens import Tokens

Logits = NDArray[np.float32]
Read = Callable[[int, int, Logits], None]

# More tokens at once make matrix products no faster, and logits of all of them take 4 bytes x
# the vocabulary each.
STEP_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens that were read, with what the attention remembers of them.

    Attributes:
        tokens: [T].
        states: One array [1, heads, T, width] per state variable of the model.
    """

    tokens: Tokens
    states: tuple[NDArray[np.float32], ...]

    @property
    def num_bytes(self) -> int:
        """Memory that the states take."""
        return sum(state.nbytes for state in self.states)


class CompiledModel:
    """A converted model, compiled for the CPU; its sessions share the weights.

    Args:
        folder: Result of the conversion.
        num_threads: Threads of one step.
        exact: Compute in full precision.  Answers then depend on the request alone, not on what
            else is in its batch.  Otherwise activations are rounded to 8 bits, which takes about
            two thirds of the time and moves a token's log-prob by about 0.01 to 0.1 nats.

    Attributes:
        bytes_per_token: Attention memory of one token of one row.
    """

    def __init__(self, folder: Path, num_threads: int, *, exact: bool) -> None:
        core = local_extra("openvino").Core()
        model = core.read_model(folder / "openvino_model.xml")
        _select_rows_before_head(model)
        self._compiled: Any = core.compile_model(
            model,
            "CPU",
            {
                # Half precision of either would cost log-probs their second digit.
                "INFERENCE_PRECISION_HINT": "f32",
                "KV_CACHE_PRECISION": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": num_threads,
                # Pinned, the threads of two processes land on one core.
                "ENABLE_CPU_PINNING": False,
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0 if exact else 32,
            },
        )
        shapes = [state.state.shape for state in self.new_request().query_state()]
        self.bytes_per_token = sum(4 * int(shape[1]) * int(shape[3]) for shape in shapes)

        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let every session fail at its next step; for good."""
        self._stopped.set()

    def require_running(self) -> None:
        """Check that the model was not stopped.

        Raises:
            LLMError: If it was.
        """
        if self._stopped.is_set():
            raise LLMError("the local engine was stopped; start the server again")

    def new_request(self) -> Any:
        """Return an inference request with a state of its own."""
        return self._compiled.create_infer_request()


class Session:
    """One attention memory; used by one thread at a time."""

    def __init__(self, model: CompiledModel) -> None:
        self._model = model
        self._request = model.new_request()
        self._openvino = local_extra("openvino")
        self._mask = np.ones((1, 0), dtype=np.int64)

    def begin(self, starts: Sequence[tuple[Prefix | None, int]]) -> None:
        """Forget everything; each new row remembers the first tokens of a prefix.

        Args:
            starts: For every row its prefix and how many tokens of it count.
        """
        self._request.reset_state()
        longest = max(length for _, length in starts)
        self._mask = np.zeros((len(starts), longest), dtype=np.int64)
        if longest == 0:
            return
        for row, (_, length) in enumerate(starts):
            self._mask[row, :length] = 1
        for index, variable in enumerate(self._request.query_state()):
            variable.state = self._openvino.Tensor(_stack(starts, index, longest))

    def feed(
        self,
        rows: Sequence[Tokens],
        parents: Sequence[int],
        wanted: Sequence[Sequence[int]],
        read: Read,
    ) -> None:
        """Read more tokens of every row and hand out logits.

        Args:
            rows: B arrays with the new tokens of each row, at least one each.
            parents: Of each row, the row of the step before that it continues.
            wanted: Of each row, the positions among its new tokens whose logits are wanted.
            read: Called with (row, position, logits [V]) for every wanted position; the logits
                are those of the token that follows, and valid during the call alone.

        Raises:
            LLMError: If the model was stopped meanwhile.
        """
        width = max(len(new) for new in rows)
        stride = max(1, STEP_TOKENS // len(rows))
        tokens = np.zeros((len(rows), width), dtype=np.int64)
        present = np.zeros((len(rows), width), dtype=np.int64)
        for index, new in enumerate(rows):
            tokens[index, : len(new)] = new
            present[index, : len(new)] = 1
        beam = np.asarray(parents, dtype=np.int32)
        self._mask = self._mask[beam]
        for start in range(0, width, stride):
            stop = min(start + stride, width)
            places = [
                (row, position)
                for row, positions in enumerate(wanted)
                for position in positions
                if start <= position < stop
            ]
            flat = [row * (stop - start) + position - start for row, position in places]
            logits = self._step(tokens[:, start:stop], present[:, start:stop], beam, flat)
            for (row, position), scores in zip(places, logits, strict=True):
                read(row, position, scores)
            beam = np.arange(len(rows), dtype=np.int32)

    def snapshot(self, tokens: Tokens) -> Prefix:
        """Copy what the session remembers; it must have one row, which has read ``tokens``."""
        states = tuple(np.array(state.state.data) for state in self._request.query_state())
        return Prefix(tokens, states)

    def _step(
        self,
        tokens: NDArray[np.int64],
        present: NDArray[np.int64],
        beam: NDArray[np.int32],
        wanted: Sequence[int],
    ) -> Logits:
        """Run the model once on a block of B x S tokens; return logits [len(wanted), V]."""
        self._model.require_running()
        seen = self._mask.sum(axis=1, keepdims=True)
        # A pad gets the position of the token before it; nothing ever attends to it.
        positions = np.maximum(seen + present.cumsum(axis=1) - 1, 0)
        self._mask = np.concatenate([self._mask, present], axis=1)
        self._request.infer(
            {
                "input_ids": tokens,
                "attention_mask": self._mask,
                "position_ids": positions,
                "beam_idx": beam,
                # The head is never run on no row at all.
                "wanted": np.array(wanted or (0,), dtype=np.int64),
            }
        )
        logits: Logits = self._request.get_output_tensor(0).data
        return logits[: len(wanted)]


def _select_rows_before_head(model: Any) -> None:
    """Put a selection of positions before the model's last matrix product.

    The head is the widest matrix of these models: run on every token it costs as much as a third
    of the rest.
    """
    openvino = local_extra("openvino")
    ops = openvino.opset13
    head = model.outputs[0].get_node().input_value(0).get_node()
    hidden = head.input_value(0)
    size = hidden.get_partial_shape()[2].get_length()
    wanted = ops.parameter([-1], np.int64, name="wanted")
    wanted.output(0).set_names({"wanted"})
    flat = ops.reshape(hidden, ops.constant(np.array([-1, size], dtype=np.int64)), False)
    chosen = ops.gather(flat, wanted, ops.constant(np.int64(0)))
    head.input(0).replace_source_output(chosen.output(0))
    model.add_parameters([wanted])
    model.validate_nodes_and_infer_types()


def _stack(
    starts: Sequence[tuple[Prefix | None, int]], index: int, longest: int
) -> NDArray[np.float32]:
    """Build one state variable [B, heads, longest, width] out of the prefixes of B rows."""
    shape = next(prefix.states[index].shape for prefix, length in starts if prefix and length)
    stacked = np.zeros((len(starts), shape[1], longest, shape[3]), dtype=np.float32)
    for row, (prefix, length) in enumerate(starts):
        if prefix is not None and length:
            stacked[row, :, :length] = prefix.states[index][0, :, :length]
    return stacked


def log_normalizer(logits: Logits) -> float:
    """Return log(sum(exp(logits))) of one row, in nats."""
    peak = float(logits.max())
    return peak + float(np.log(np.exp(logits - np.float32(peak)).sum(dtype=np.float64)))
