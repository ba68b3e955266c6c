"""Networks of their own for the nodes of a cluster: one namespace a node, joined by a bridge.

They need the right to make network namespaces, which root has on Linux.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


class NotPermittedError(Exception):
    """This machine does not let us make network namespaces."""


@dataclass(frozen=True)
class Host:
    """A machine of its own, as far as the network goes.

    Attributes:
        namespace: Name of its network namespace.
        address: Its address.
        link: The end of its only cable, on the side of the bridge.
    """

    namespace: str
    address: str
    link: str

    def command(self, *words: str) -> list[str]:
        """Put before a command what makes it run on this host."""
        return ["ip", "netns", "exec", self.namespace, *words]

    def cut_off(self) -> None:
        """Pull the cable."""
        _run("ip", "link", "set", self.link, "down")

    def reconnect(self) -> None:
        """Plug the cable in."""
        _run("ip", "link", "set", self.link, "up")


@dataclass(frozen=True)
class Network:
    """Some hosts, and the address at which they reach this process."""

    hosts: list[Host]
    gateway: str


@contextmanager
def network(num_hosts: int) -> Iterator[Network]:
    """Make hosts and join them; at the end all their processes are killed and nothing is left.

    Raises:
        NotPermittedError: If this machine does not let us.
    """
    if shutil.which("ip") is None:
        raise NotPermittedError("there is no command ip")
    name = f"dln{os.getpid() % 10**7}"
    subnet = f"198.18.{os.getpid() % 256}"  # set aside for tests, RFC 2544
    hosts = [
        Host(f"{name}n{number}", f"{subnet}.{number + 1}", f"{name}v{number}")
        for number in range(num_hosts)
    ]
    try:
        _run("ip", "link", "add", name, "type", "bridge")
        _run("ip", "address", "add", f"{subnet}.254/24", "dev", name)
        _run("ip", "link", "set", name, "up")
        for host in hosts:
            _connect(host, name, f"{subnet}.254")
        yield Network(hosts, f"{subnet}.254")
    finally:
        for host in hosts:
            _remove(host)
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def _connect(host: Host, bridge: str, gateway: str) -> None:
    _run("ip", "netns", "add", host.namespace)
    peer = ("peer", "name", "eth0", "netns", host.namespace)
    _run("ip", "link", "add", host.link, "type", "veth", *peer)
    _run("ip", "link", "set", host.link, "master", bridge, "up")
    _run(*host.command("ip", "link", "set", "lo", "up"))
    _run(*host.command("ip", "address", "add", f"{host.address}/24", "dev", "eth0"))
    _run(*host.command("ip", "link", "set", "eth0", "up"))
    _run(*host.command("ip", "route", "add", "default", "via", gateway))


def _remove(host: Host) -> None:
    listed = ["ip", "netns", "pids", host.namespace]
    pids = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    for command in (["ip", "link", "delete", host.link], ["ip", "netns", "delete", host.namespace]):
        subprocess.run(command, capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermittedError(f"`{' '.join(command)}`: {done.stderr.strip()}")
