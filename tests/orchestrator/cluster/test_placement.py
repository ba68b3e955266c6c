from __future__ import annotations

import pytest

from dln_core.errors import ClusterError
from orchestrator.cluster.placement import actor_options, check_fit


def test_resources_come_on_top_of_the_cpus_of_each_trial():
    assert actor_options(0.25, {}) == {"num_cpus": 0.25}
    assert actor_options(0.25, {"CPU": 2, "GPU": 1, "memory": 2e9, "big": 1}) == {
        "num_cpus": 2,
        "num_gpus": 1,
        "memory": 2e9,
        "resources": {"big": 1},
    }


def test_what_no_single_node_has_is_refused_with_what_the_largest_have():
    nodes = [{"CPU": 4.0, "memory": 8e9}, {"CPU": 2.0, "big": 1.0}]
    check_fit({}, nodes)
    check_fit({"CPU": 2, "big": 1}, nodes)
    with pytest.raises(ClusterError, match=r"CPU: 4, big: 1.*at most \{CPU: 4, big: 1\}"):
        check_fit({"CPU": 4, "big": 1}, nodes)
    with pytest.raises(ClusterError, match=r"resources=\{GPU: 1\} fits on none of the 2 node"):
        check_fit({"GPU": 1}, nodes)
