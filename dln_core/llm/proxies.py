"""The proxy that the environment names for an endpoint."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from dln_core.errors import ConfigError


def proxy_of(base_url: str) -> str | None:
    """The proxy of an address by HTTPS_PROXY, HTTP_PROXY and NO_PROXY; None if there is none.

    A server on loopback is spoken to directly: a proxy would look for it on its own machine.

    Raises:
        ConfigError: If it is no HTTP proxy.
    """
    parts = urlsplit(base_url)
    if _is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc):
        return None
    proxy = getproxies().get(parts.scheme)
    if not proxy:
        return None
    scheme, _, _ = proxy.rpartition("://")
    if scheme not in ("", "http", "https"):
        # The rest of the address may hold a password.
        raise ConfigError(
            f"the environment's {parts.scheme.upper()}_PROXY is a {scheme} proxy, which cannot be "
            f"used; give one over http, or put {parts.hostname} into NO_PROXY"
        )
    return proxy if scheme else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
