"""What a trial's actor asks of a node, in Ray's terms."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dln_core.errors import ClusterError

# Ray has arguments of their own for these.
_ARGUMENTS = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}


def actor_options(cpus: float, resources: Mapping[str, float]) -> dict[str, Any]:
    """Return Ray's options for an actor of so many CPUs, unless its resources say otherwise."""
    needed = {"CPU": cpus, **resources}
    options: dict[str, Any] = {
        argument: needed.pop(name) for name, argument in _ARGUMENTS.items() if name in needed
    }
    return options | ({"resources": needed} if needed else {})


def check_fit(resources: Mapping[str, float], nodes: Collection[Mapping[str, float]]) -> None:
    """Make sure that some node has what an actor asks for; otherwise Ray would wait in silence.

    Args:
        resources: What is asked for, by name.
        nodes: What each node has in all.

    Raises:
        ClusterError: If no node has it.
    """
    if any(all(node.get(name, 0.0) >= need for name, need in resources.items()) for node in nodes):
        return
    asked = ", ".join(f"{name}: {need:g}" for name, need in resources.items())
    most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in resources}
    found = ", ".join(f"{name}: {amount:g}" for name, amount in most.items())
    raise ClusterError(
        f"resources={{{asked}}} fits on none of the {len(nodes)} node(s), which have at most "
        f"{{{found}}}; lower it, or start a node with more"
    )
