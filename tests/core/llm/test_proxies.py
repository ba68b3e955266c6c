"""Endpoints behind the proxy that the environment names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from dln_core.errors import ConfigError, TransientError
from dln_core.llm.capabilities import Route
from dln_core.llm.http import Endpoint, open_session
from dln_core.llm.proxies import proxy_of
from tests.core.llm.toys import GENERATE, FixedWorld, endpoint_config
from tests.servers import OpenAIServer, serve

# Nobody has this name, so only a proxy can answer for it.
HOST = "endpoint.invalid"
KEY = "sk-planted-0123456789"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


async def ask(base_url: str) -> str:
    config = endpoint_config(base_url)
    async with open_session(config) as session:
        response = await Endpoint(config, session, Route("chat", None)).send(GENERATE)
    return response.choices[0].text


def address_of(server: OpenAIServer) -> str:
    return server.base_url.removesuffix("/v1")


@asynccontextmanager
async def refusing_proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy that opens no tunnel; its address, and the first lines that arrived."""
    lines: list[str] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines.extend(head.decode().split("\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}", lines


async def test_an_endpoint_is_asked_through_the_proxy_and_given_its_own_key(
    monkeypatch, server, tmp_path
):
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {HOST} login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTP_PROXY", address_of(server))
    assert await ask(f"http://{HOST}/v1") == "Tokyo"
    (seen,) = server.seen
    assert seen.headers["Host"] == HOST
    assert seen.headers["Authorization"] == f"Bearer {KEY}"


async def test_a_proxy_is_given_its_own_password(monkeypatch, server):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HTTP_PROXY", address_of(server).replace("://", "://me:secret@"))
    assert await ask(f"http://{HOST}/v1") == "Tokyo"
    assert server.seen[0].headers["Proxy-Authorization"].startswith("Basic ")
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_an_encrypted_endpoint_is_asked_through_a_tunnel_that_sees_no_key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with refusing_proxy() as (address, lines):
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@{address}")
        with pytest.raises(TransientError, match="407") as caught:
            await ask(f"https://{HOST}/v1")
    assert lines[0].startswith(f"CONNECT {HOST}:443 ")
    assert KEY not in "".join(lines)
    assert "secret" not in str(caught.value)


async def test_a_server_on_loopback_is_asked_directly(monkeypatch, server):
    async with serve(FixedWorld()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", address_of(proxy))
        assert await ask(server.base_url) == "Tokyo"
    assert (server.num_requests, proxy.num_requests) == (1, 0)


async def test_a_proxy_that_is_down_is_named_without_its_password(monkeypatch):
    async with serve(FixedWorld()) as gone:
        pass
    address = address_of(gone).removeprefix("http://")
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{address}")
    with pytest.raises(TransientError, match=f"proxy {address}: Connection refused") as caught:
        await ask(f"http://{HOST}/v1")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("base_url", "exempt", "expected"),
    [
        ("https://api.openai.com/v1", "", "http://secure:3128"),
        ("http://10.0.0.7:8000/v1", "", "http://plain:3128"),
        ("http://10.0.0.7:8000/v1", "10.0.0.7", None),
        ("http://10.0.0.7:8000/v1", "10.0.0.7:8000", None),
        ("http://10.0.0.7:8000/v1", "10.0.0.7:9000", "http://plain:3128"),
        ("https://host.corp.example/v1", "localhost,.corp.example", None),
        ("https://api.openai.com/v1", "*", None),
        ("http://localhost:8080/v1", "", None),
        ("http://127.0.0.2:8080/v1", "", None),
        ("http://[::1]:8080/v1", "", None),
        ("http://[2001:db8::1]:8080/v1", "", "http://plain:3128"),
    ],
)
def test_the_environment_names_the_proxy_and_what_needs_none(
    monkeypatch, base_url, exempt, expected
):
    # Without a scheme, as many write it.
    monkeypatch.setenv("HTTP_PROXY", "plain:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert proxy_of(base_url) == expected


def test_a_proxy_that_is_none_over_http_is_a_wrong_setting(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:secret@host:1080")
    with pytest.raises(ConfigError, match=r"HTTPS_PROXY is a socks5 proxy.*NO_PROXY") as caught:
        proxy_of("https://api.openai.com/v1")
    assert "secret" not in str(caught.value)
