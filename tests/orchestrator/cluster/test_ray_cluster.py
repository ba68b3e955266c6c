from __future__ import annotations

import socket

import pytest

from dln_core.errors import ClusterError, LLMError
from orchestrator.cluster.local_server import serve, served_models, with_addresses
from orchestrator.cluster.ray_cluster import (
    ActorLostError,
    connect,
    free_port,
    remote_errors,
)
from orchestrator.settings.schema import ClusterConfig


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "ray://127.0.0.1"])
def test_a_cluster_out_of_reach_is_told_at_once(address):
    with (
        pytest.raises(ClusterError, match="cannot be reached"),
        connect(ClusterConfig(address=address)),
    ):
        pass


def test_an_actor_that_fits_nowhere_is_told_with_figures():
    with (
        pytest.raises(ClusterError, match=r"cpus_per_trial=5000 fits on no node: .* CPUs"),
        connect(ClusterConfig(cpus_per_trial=5000)),
    ):
        pass


def test_an_error_of_anothers_code_comes_back_as_it_was_raised_with_its_traceback():
    import ray

    cause = RuntimeError("kaboom")
    error = ray.exceptions.RayTaskError("run", 'File "theirs.py", line 7', cause)
    with pytest.raises(RuntimeError, match="kaboom") as raised, remote_errors():
        raise error.as_instanceof_cause()
    assert raised.value is cause
    assert "theirs.py" in cause.__notes__[0]


@pytest.mark.parametrize("name", ["OutOfMemoryError", "NodeDiedError", "LocalRayletDiedError"])
def test_an_actor_that_ray_or_a_node_took_along_is_a_lost_one(name):
    from ray import exceptions

    with pytest.raises(ActorLostError, match="run the same command again"), remote_errors():
        raise getattr(exceptions, name)("1 worker(s) were killed")


def test_a_taken_dashboard_port_is_replaced():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) not in (0, port)


def test_only_local_models_without_an_address_are_served(toy_plan, tmp_path):
    from dln_core.config import LLMConfig

    local = LLMConfig(provider="local", model="smollm2-135m")
    settings = toy_plan(llm=local).trials[0].settings
    assert served_models([settings, settings]) == ["smollm2-135m"]
    addressed = with_addresses(settings, {"smollm2-135m": "http://127.0.0.1:1/v1"})
    assert addressed.llm.base_url == "http://127.0.0.1:1/v1"
    assert served_models([addressed]) == []
    assert served_models([toy_plan().trials[0].settings]) == []


async def test_a_local_model_that_cannot_be_served_is_told_with_the_reason():
    with pytest.raises(ExceptionGroup) as caught:
        async with serve(["no-such-model"]):
            pass
    assert caught.group_contains(LLMError, match="no-such-model did not start: there is no")
