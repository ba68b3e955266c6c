"""Downloads against a real server on loopback: resumed, verified, put in place at once."""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from aiohttp import web

from dln_core.errors import DataError
from dln_core.tasks.download import fetch
from dln_core.tasks.sources import Source

CONTENT = bytes(range(256)) * 2000
PATH = "corpus/data.json"


def pinned(content: bytes = CONTENT) -> Source:
    return Source(
        path=PATH,
        url="http://127.0.0.1:9/never-used",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        licence="MIT",
        origin="test",
    )


class Mirror:
    """A file server that can hang up in the middle of its first answer."""

    def __init__(self, folder: Path, *, hang_up_after: int | None = None) -> None:
        self.folder = folder
        self.hang_up_after = hang_up_after
        self.ranges: list[str | None] = []
        self.client_has_bytes = anyio.Event()

    def note_bytes(self, count: int) -> None:
        if count:
            self.client_has_bytes.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.ranges.append(request.headers.get("Range"))
        place = self.folder / request.match_info["path"]
        if not place.is_file():
            raise web.HTTPNotFound
        if self.hang_up_after is None:
            return web.FileResponse(place)
        content, sent, self.hang_up_after = place.read_bytes(), self.hang_up_after, None
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[:sent])
        await self.client_has_bytes.wait()
        request.transport.close()
        return response


@asynccontextmanager
async def serving(mirror: Mirror):
    app = web.Application()
    app.router.add_get("/{path:.*}", mirror.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
def upstream(tmp_path):
    place = tmp_path / "upstream" / PATH
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    return tmp_path / "upstream"


async def test_a_file_arrives_whole_and_is_not_asked_for_again(upstream, tmp_path):
    mirror, folder, counted = Mirror(upstream), tmp_path / "data", []
    async with serving(mirror) as url:
        assert await fetch([pinned()], folder, base_url=url, on_bytes=counted.append) == 1
        assert await fetch([pinned()], folder, base_url=url) == 0
    assert (folder / PATH).read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)
    assert len(mirror.ranges) == 1


async def test_an_interrupted_download_goes_on_where_it_stopped(upstream, tmp_path):
    mirror, folder, counted = Mirror(upstream, hang_up_after=100_000), tmp_path / "data", []
    async with serving(mirror) as url:
        with pytest.raises(DataError, match="run the command again"):
            await fetch([pinned()], folder, base_url=url, on_bytes=mirror.note_bytes)
        assert not (folder / PATH).exists()
        kept = (folder / f"{PATH}.part").stat().st_size
        assert 0 < kept <= 100_000
        assert await fetch([pinned()], folder, base_url=url, on_bytes=counted.append) == 1
    assert mirror.ranges == [None, f"bytes={kept}-"]
    assert (folder / PATH).read_bytes() == CONTENT
    assert sum(counted) == len(CONTENT)
    assert not (folder / f"{PATH}.part").exists()


async def test_wrong_bytes_are_refused_and_leave_nothing_behind(upstream, tmp_path):
    (upstream / PATH).write_bytes(CONTENT[:-1] + b"!")
    async with serving(Mirror(upstream)) as url:
        with pytest.raises(DataError, match="does not deliver the pinned"):
            await fetch([pinned()], tmp_path / "data", base_url=url)
    assert [p for p in (tmp_path / "data").rglob("*") if p.is_file()] == []


async def test_a_part_longer_than_the_file_upstream_starts_afresh(upstream, tmp_path):
    (upstream / PATH).write_bytes(CONTENT[:1000])
    part = tmp_path / "data" / f"{PATH}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:2000])
    async with serving(Mirror(upstream)) as url:
        with pytest.raises(DataError, match="416"):
            await fetch([pinned()], tmp_path / "data", base_url=url)
    assert not part.exists()


async def test_a_damaged_file_is_replaced(upstream, tmp_path):
    place = tmp_path / "data" / PATH
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    async with serving(Mirror(upstream)) as url:
        assert await fetch([pinned()], tmp_path / "data", base_url=url) == 1
    assert place.read_bytes() == CONTENT


async def test_a_file_that_is_not_there_is_told_with_its_address(tmp_path):
    async with serving(Mirror(tmp_path)) as url:
        with pytest.raises(DataError, match=f"{url}/{PATH}.*404"):
            await fetch([pinned()], tmp_path / "data", base_url=url)


async def test_a_server_that_is_down_is_told(tmp_path):
    with pytest.raises(DataError, match="ClientConnectorError"):
        await fetch([pinned()], tmp_path / "data", base_url="http://127.0.0.1:9")
