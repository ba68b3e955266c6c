"""What trials read from the driver's disk."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from dln_core.config import TaskConfig
from dln_core.errors import ConfigError
from orchestrator.cluster.materials import Materials, MaterialsStore


class Shelf:
    """Stands for a cluster as far as values are shared."""

    def __init__(self) -> None:
        self.values: list[object] = []

    def share(self, value: object) -> int:
        self.values.append(value)
        return len(self.values) - 1


def settings_of(toy_plan, tmp_path: Path, init: str | None = None):
    data = tmp_path / "mine.csv"
    rows = "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(60))
    data.write_text(f"question,label\n{rows}")
    settings = toy_plan().trials[0].settings
    task = TaskConfig(
        name="mine", format="csv", path=str(data), input="question", label="label",
        instruction="Say a or b.",
    )  # fmt: skip
    return replace(settings, task=task, network=replace(settings.network, init=init))


def test_a_trial_can_be_opened_where_the_drivers_disk_is_not(toy_plan, tmp_path):
    network = tmp_path / "network.json"
    network.write_text("{}")
    settings = settings_of(toy_plan, tmp_path, str(network))
    sent = pickle.dumps(Materials.read(settings))
    network.unlink()
    (tmp_path / "mine.csv").unlink()
    received = pickle.loads(sent)
    assert len(received.task.splits.train) > 0
    with received.laid_out(settings) as laid_out:
        path = Path(laid_out.network.init)
        assert path.read_text() == "{}"
    assert not path.exists()
    assert replace(laid_out, network=settings.network) == settings


def test_without_a_file_to_start_from_settings_stay_as_they_are(toy_plan, tmp_path):
    settings = settings_of(toy_plan, tmp_path)
    with Materials.read(settings).laid_out(settings) as laid_out:
        assert laid_out is settings


def test_a_file_that_has_gone_is_named_with_its_setting(toy_plan, tmp_path):
    settings = settings_of(toy_plan, tmp_path, str(tmp_path / "gone.json"))
    with pytest.raises(ConfigError, match=r"network\.init=.*gone\.json cannot be read"):
        Materials.read(settings)


async def test_trials_of_the_same_data_share_one_reading(toy_plan, tmp_path):
    shelf = Shelf()
    materials = MaterialsStore(shelf)
    settings = settings_of(toy_plan, tmp_path)
    other = replace(settings, task=TaskConfig(name="triage"))
    places = [await materials.of(one) for one in (settings, other, replace(settings, seed=42))]
    assert places == [0, 1, 0]
    assert [value.task.name for value in shelf.values] == ["mine", "triage"]
