"""Conversion of a GGUF file into what the engine loads: 8-bit weights as an OpenVINO model.

The engine's own reader loses precision on 4-bit GGUF types and refuses some, so every matrix is
first dequantised and rounded to Q8_0.  This is done once; later starts read the result.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dln_core.errors import WeightsError
from dln_core.llm.local.extra import local_extra

# Raised by hand when the conversion changes; older results are then made again.
CONVERSION_VERSION = 1

_SUMMARY = "model.json"


def is_converted(folder: Path) -> bool:
    """Tell whether ``folder`` holds a complete result of the present conversion."""
    try:
        return read_summary(folder).get("conversion") == CONVERSION_VERSION
    except WeightsError:
        return False


def read_summary(folder: Path) -> dict[str, Any]:
    """Return what the conversion noted: ``context_length``, ``conversion``.

    Raises:
        WeightsError: If the folder holds no converted model.
    """
    try:
        summary: dict[str, Any] = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder} holds no converted model ({error}); pull the model again"
        ) from error
    return summary


def convert(source: Path, folder: Path, advance: Callable[[int], None]) -> None:
    """Convert a GGUF file into a folder, which appears only when it is complete.

    Args:
        source: The upstream file.
        folder: Where the result goes; an older one there is replaced.
        advance: Told of every number of source bytes that is done.

    Raises:
        WeightsError: If the file cannot be read as a model.
    """
    work = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    intermediate = work / "model.gguf"
    summary = write_q8_0(source, intermediate, advance)
    _export(intermediate)
    intermediate.unlink()
    (work / _SUMMARY).write_text(json.dumps(summary), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)


def write_q8_0(source: Path, target: Path, advance: Callable[[int], None]) -> dict[str, Any]:
    """Write a copy of a GGUF file with all matrices in Q8_0; return the model's summary.

    Raises:
        WeightsError: If the file is not GGUF or lacks what a language model needs.
    """
    gguf = local_extra("gguf")
    try:
        reader = gguf.GGUFReader(source)
        architecture = reader.fields["general.architecture"].contents()
        context_length = reader.fields[f"{architecture}.context_length"].contents()
    except (ValueError, KeyError, OSError) as error:
        raise WeightsError(
            f"{source} is no readable GGUF file ({error}); remove it and pull the model again"
        ) from error
    writer = gguf.GGUFWriter(target, architecture)
    _copy_metadata(gguf, reader, writer)
    q8_0 = gguf.GGMLQuantizationType.Q8_0
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        if tensor.tensor_type == q8_0:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=q8_0)
        elif len(tensor.shape) < 2:
            writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type))
        else:
            exact = gguf.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, gguf.quantize(exact, q8_0), raw_dtype=q8_0)
        advance(int(tensor.n_bytes))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"context_length": int(context_length), "conversion": CONVERSION_VERSION}


def _copy_metadata(gguf: Any, reader: Any, writer: Any) -> None:
    """Copy all metadata but what the writer sets itself and the type of the matrices."""
    array = gguf.GGUFValueType.ARRAY
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == array else None
        writer.add_key_value(key, field.contents(), kind, element)


def _export(path: Path) -> None:
    """Write OpenVINO model, tokenizer and detokenizer beside a GGUF file."""
    genai = local_extra("openvino_genai")
    genai.LLMPipeline(str(path), "CPU", enable_save_ov_model=True)
