"""Downloading pinned data files: resumed after an interruption, verified, then put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread

from dln_core.errors import DataError
from dln_core.tasks.sources import Source, is_intact

MAX_CONNECTIONS = 4
CHUNK_BYTES = 1 << 16
# No total limit: a large file on a slow line is fine as long as bytes keep coming.
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)

OnBytes = Callable[[int], None]


async def fetch(
    wanted: Iterable[Source],
    folder: Path,
    *,
    base_url: str | None = None,
    on_bytes: OnBytes = lambda count: None,
) -> int:
    """Bring files into the data folder that are not there yet or are damaged.

    Bytes that an interrupted call left behind are kept and continued.

    Args:
        wanted: The files.
        folder: The data folder; it is made if need be.
        base_url: Address of a mirror with the data folder's layout; None uses the pinned addresses.
        on_bytes: Called with the number of bytes that have become available.

    Returns:
        How many files were downloaded.

    Raises:
        DataError: If a file cannot be had, or is not the pinned version; the first such error.
    """
    missing: list[Source] = []
    for source in wanted:
        if await anyio.to_thread.run_sync(_is_in_place, source, folder):
            on_bytes(source.bytes)
        else:
            missing.append(source)
    failures: list[DataError] = []
    limiter = anyio.CapacityLimiter(MAX_CONNECTIONS)

    async def one(session: aiohttp.ClientSession, source: Source) -> None:
        url = source.url if base_url is None else f"{base_url.rstrip('/')}/{source.path}"
        async with limiter:
            try:
                await _download(session, source, url, folder, on_bytes)
            except DataError as error:
                failures.append(error)

    async with (
        aiohttp.ClientSession(timeout=_TIMEOUT, trust_env=True) as session,
        anyio.create_task_group() as group,
    ):
        for source in missing:
            group.start_soon(one, session, source)
    if failures:
        raise failures[0]
    return len(missing)


def _is_in_place(source: Source, folder: Path) -> bool:
    place = folder / source.path
    return place.is_file() and is_intact(source, place.read_bytes())


async def _download(
    session: aiohttp.ClientSession, source: Source, url: str, folder: Path, on_bytes: OnBytes
) -> None:
    place = anyio.Path(folder / source.path)
    part = place.with_name(place.name + ".part")
    try:
        await place.parent.mkdir(parents=True, exist_ok=True)
        await _continue_part(session, source, url, part, on_bytes)
        content = await part.read_bytes()
        if not await anyio.to_thread.run_sync(is_intact, source, content):
            await part.unlink()
            raise DataError(
                f"{url} does not deliver the pinned {source.path}: expected {source.bytes} bytes, "
                f"got {len(content)}, and the SHA-256 differs; try again, or copy the file from "
                f"elsewhere and name its folder with data.dir"
            )
        await part.replace(place)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DataError(
            f"download of {url} stopped ({type(error).__name__}: {error}); run the command again "
            f"to go on where it stopped, or copy the file from elsewhere and name its folder with "
            f"data.dir"
        ) from error
    except OSError as error:
        raise DataError(
            f"{place} cannot be written ({error.strerror}); choose another folder with data.dir"
        ) from error


async def _continue_part(
    session: aiohttp.ClientSession, source: Source, url: str, part: anyio.Path, on_bytes: OnBytes
) -> None:
    """Append to the part file what is still missing of it."""
    have = (await part.stat()).st_size if await part.exists() else 0
    if have >= source.bytes:
        # A complete part is left to the check; a longer one can only be wrong.
        on_bytes(source.bytes)
        return
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {}
    async with session.get(url, headers=headers) as response:
        if response.status == 416:
            # The file there is shorter than the part here: only a fresh start can tell more.
            await part.unlink()
        response.raise_for_status()
        resumed = response.status == 206
        on_bytes(have if resumed else 0)
        async with await anyio.open_file(part, "ab" if resumed else "wb") as file:
            async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                await file.write(chunk)
                on_bytes(len(chunk))
