"""The compiled model over a pool of attention memory: one step reads a ragged batch of tokens.

The model's attention is rewritten to keep keys and values in blocks of a pool that is made once,
so that memory is bounded whatever is asked, nothing is padded, and sequences that begin alike
share blocks.  Logits are computed at the wanted positions alone.

Source: Kwon et al. 2023, paged attention.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dln_core.errors import LLMError
from dln_core.llm.local.blocks import BLOCK_TOKENS, blocks_for
from dln_core.llm.local.extra import local_extra
from dln_core.llm.local.tokens import Tokens

Logits = NDArray[np.float32]

# Attention memory of everything that is read at a time, and of what is kept to be shared.  It is
# taken from the system as it is first used.
_POOL_BYTES = 1 << 30
_CACHE_INPUTS = ("key_cache.", "value_cache.")


@dataclass(frozen=True, slots=True)
class Distribution:
    """What the model expects after a token; valid until the next step.

    Attributes:
        logits: [V].
        log_normalizer: log(sum(exp(logits))) in nats.
    """

    logits: Logits
    log_normalizer: float

    def logprob(self, token: int) -> float:
        """Return the log-prob of a token in nats."""
        return float(self.logits[token]) - self.log_normalizer

    def top(self, count: int) -> tuple[tuple[int, float], ...]:
        """Return the most probable tokens with their log-probs in nats, best first."""
        if count == 1:
            ranked = [int(self.logits.argmax())]
        else:
            count = min(count, len(self.logits))
            best = np.argpartition(self.logits, -count)[-count:] if count else np.zeros(0, int)
            ranked = best[np.argsort(-self.logits[best], kind="stable")].tolist()
        return tuple((token, self.logprob(token)) for token in ranked)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Part of a sequence to read in one step.

    Attributes:
        tokens: [T] the new tokens, at least one.
        start: How many tokens of the sequence were read before.
        blocks: Pool blocks of the sequence from its beginning; they cover the new tokens.
        num_wanted: After how many of the new tokens, counted from the last, logits are wanted.
    """

    tokens: Tokens
    start: int
    blocks: Sequence[int]
    num_wanted: int


class CompiledModel:
    """A converted model, compiled for the CPU; used by one thread at a time.

    Args:
        folder: Result of the conversion.
        num_threads: Threads of one step.
        context_length: Most tokens of one sequence; the pool holds at least one such.
        exact: Compute in full precision.  Answers then depend on the request alone, not on what
            else is in its batch.  Otherwise activations are rounded to 8 bits, which takes about
            half of the time and moves a token's log-prob by about 0.01 to 0.1 nats.

    Attributes:
        num_blocks: Blocks of the pool.
    """

    def __init__(self, folder: Path, num_threads: int, context_length: int, *, exact: bool) -> None:
        self._openvino = local_extra("openvino")
        core = self._openvino.Core()
        model = core.read_model(folder / "openvino_model.xml")
        local_extra("openvino._offline_transformations").paged_attention_transformation(model)
        _select_rows_before_head(model)
        compiled = core.compile_model(
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
                # Groups of 32, the usual size, are a third faster but off by up to 0.2 nats.
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0 if exact else 16,
            },
        )
        self._request: Any = compiled.create_infer_request()
        self._caches: list[NDArray[np.float32]] = []
        self.num_blocks = self._make_pool(compiled, blocks_for(context_length))
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let the next step fail; for good."""
        self._stopped.set()

    def step(self, chunks: Sequence[Chunk]) -> list[list[Distribution]]:
        """Read some chunks; return of each one the distributions that it wanted, in order.

        Raises:
            LLMError: If the model was stopped.
        """
        if self._stopped.is_set():
            raise LLMError("the local engine was stopped; start the server again")
        lengths = [len(chunk.tokens) for chunk in chunks]
        ends = np.cumsum(lengths)
        totals = [chunk.start + length for chunk, length in zip(chunks, lengths, strict=True)]
        tables = [
            chunk.blocks[: blocks_for(total)] for chunk, total in zip(chunks, totals, strict=True)
        ]
        wanted = [
            place
            for chunk, end in zip(chunks, ends.tolist(), strict=True)
            for place in range(end - chunk.num_wanted, end)
        ]
        self._request.infer(
            {
                "input_ids": np.concatenate([chunk.tokens for chunk in chunks]).astype(np.int64),
                "position_ids": np.concatenate(
                    [np.arange(c.start, t) for c, t in zip(chunks, totals, strict=True)]
                ),
                "max_context_len": np.int32(max(totals)),
                "past_lens": np.array([chunk.start for chunk in chunks], dtype=np.int32),
                "subsequence_begins": np.array([0, *ends], dtype=np.int32),
                "block_indices": np.concatenate(tables).astype(np.int32),
                "block_indices_begins": np.cumsum([0, *map(len, tables)]).astype(np.int32),
                # The head is never run on no row at all.
                "wanted": np.array(wanted or (0,), dtype=np.int64),
            }
        )
        logits = self._request.get_output_tensor(0).data
        normalizers = self._request.get_output_tensor(1).data.tolist()
        found = map(Distribution, logits, normalizers)
        return [[next(found) for _ in range(chunk.num_wanted)] for chunk in chunks]

    def copy_block(self, source: int, target: int) -> None:
        """Copy what the attention remembers in a block of the pool to another one."""
        for cache in self._caches:
            cache[target] = cache[source]

    def _make_pool(self, compiled: Any, least: int) -> int:
        """Give every layer its part of the pool; return the number of blocks."""
        inputs = {
            name: port
            for port in compiled.inputs
            for name in port.names
            if name.startswith(_CACHE_INPUTS)
        }
        shapes = {
            name: [size.get_length() for size in list(port.partial_shape)[1:]]
            for name, port in inputs.items()
        }
        block_bytes = sum(4 * int(np.prod(shape)) for shape in shapes.values())
        num_blocks = max(least, _POOL_BYTES // block_bytes)
        for name, port in inputs.items():
            if shapes[name][1] != BLOCK_TOKENS:
                raise LLMError(
                    f"attention memory has blocks of {shapes[name][1]} tokens, not {BLOCK_TOKENS}; "
                    "install the release of openvino that this one names"
                )
            tensor = self._openvino.Tensor(port.element_type, [num_blocks, *shapes[name]])
            self._request.set_tensor(name, tensor)
            self._caches.append(tensor.data)
        return num_blocks


def _select_rows_before_head(model: Any) -> None:
    """Put a selection of positions before the last matrix product, the normalisers after it.

    The head is the widest matrix of these models: run on every token it costs as much as a third
    of the rest.
    """
    ops = local_extra("openvino").opset13
    head = model.outputs[0].get_node().input_value(0).get_node()
    hidden = head.input_value(0)
    size = hidden.get_partial_shape()[-1].get_length()
    wanted = ops.parameter([-1], np.int64, name="wanted")
    wanted.output(0).set_names({"wanted"})
    flat = ops.reshape(hidden, ops.constant(np.array([-1, size], dtype=np.int64)), False)
    chosen = ops.gather(flat, wanted, ops.constant(np.int64(0)))
    head.input(0).replace_source_output(chosen.output(0))
    last = ops.constant(np.int64(-1))
    peak = ops.reduce_max(head, last, keep_dims=True)
    total = ops.reduce_sum(ops.exp(ops.subtract(head, peak)), last, keep_dims=False)
    normalizer = ops.add(ops.log(total), ops.squeeze(peak, last))
    model.add_parameters([wanted])
    model.add_results([ops.result(normalizer)])
    model.validate_nodes_and_infer_types()
