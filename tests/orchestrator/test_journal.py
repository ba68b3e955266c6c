from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dln_core.errors import JournalError
from orchestrator.journal import Journal
from orchestrator.trial_journal import DamagedJournalError, TrialJournal, read_events

OWN_FOLDER = """
import sys
from pathlib import Path
from orchestrator.journal import Journal
with Journal.locked(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def settings(toy_plan):
    return toy_plan().trials[0].settings


@pytest.fixture
def begun(tmp_path: Path, settings) -> TrialJournal:
    journal = TrialJournal.recover(tmp_path / "trials" / "t")
    journal.begin(settings)
    return journal


def test_a_trial_reads_back_as_it_was_written(begun, toy_event):
    begun.append(toy_event(0), {"step": 0})
    begun.append(toy_event(1), {"step": 1})
    back = TrialJournal.read(begun.folder)
    assert (back.num_events, back.state, back.epoch) == (2, {"step": 1}, 1)
    assert back.summary == begun.summary
    assert list(read_events(begun.folder, 0, 2)) == [toy_event(0), toy_event(1)]


def test_the_settings_are_kept_beside_the_events(begun, settings):
    saved = yaml.safe_load((begun.folder / "config.yaml").read_text())
    assert saved["task"]["name"] == settings.task.name
    assert saved["seed"] == settings.seed


def test_the_last_event_leaves_network_and_predictions(begun, toy_event):
    event = toy_event(2, kind="finish")
    begun.append(event, {"step": 2})
    lines = (begun.folder / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == event["predictions"]
    assert json.loads((begun.folder / "network.json").read_text()) == event["best_network"]
    assert TrialJournal.read(begun.folder).summary.status == "finished"


def test_an_event_that_the_state_does_not_count_yet_is_dropped(begun, toy_event):
    begun.append(toy_event(0), {"step": 0})
    state = (begun.folder / "state.json").read_bytes()
    begun.append(toy_event(1), {"step": 1})
    (begun.folder / "state.json").write_bytes(state)
    back = TrialJournal.recover(begun.folder)
    assert (back.num_events, back.state) == (1, {"step": 0})
    back.epoch = 1
    back.append(toy_event(1), {"step": 1})
    assert [event["step"] for event in read_events(back.folder, 0, 2)] == [0, 1]


@pytest.mark.parametrize("rest", ['{"kind": "st', "\0\0\0\0"])
def test_half_a_last_line_is_cut_with_a_warning(begun, toy_event, caplog, rest):
    begun.append(toy_event(0), {"step": 0})
    path = begun.folder / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + rest.encode())
    assert TrialJournal.recover(begun.folder).num_events == 1
    assert path.read_bytes() == whole
    assert "half a line" in caplog.text


def test_reading_alone_changes_nothing(begun, toy_event):
    begun.append(toy_event(0), {"step": 0})
    path = begun.folder / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"half')
    before = path.read_bytes()
    assert TrialJournal.read(begun.folder).num_events == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["events.jsonl", "state.json"])
def test_a_damaged_record_is_put_aside_and_the_trial_starts_again(begun, toy_event, caplog, damage):
    begun.append(toy_event(0), {"step": 0})
    path = begun.folder / damage
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedJournalError):
        TrialJournal.read(begun.folder)
    back = TrialJournal.recover(begun.folder)
    assert (back.num_events, back.state, back.summary.status) == (0, None, "pending")
    assert "computed again" in caplog.text
    assert (begun.folder / "events.damaged.jsonl").exists()


def test_every_start_raises_the_epoch_and_an_older_one_is_refused(begun, settings, toy_event):
    again = TrialJournal.recover(begun.folder)
    assert again.begin(settings) == 2
    with pytest.raises(JournalError, match="epoch 1 arrived"):
        again.append(toy_event(0, epoch=1), {"step": 0})
    again.append(toy_event(0, epoch=2), {"step": 0})
    assert again.num_events == 1


def test_a_failure_is_recorded_and_the_state_stays(begun, toy_event):
    begun.append(toy_event(0), {"step": 0})
    begun.append(
        {"kind": "failed", "step": 0, "error": "no", "error_type": "LLMError", "epoch": 1},
        {"step": 0},
    )
    back = TrialJournal.recover(begun.folder)
    assert (back.summary.status, back.summary.error, back.state) == ("failed", "no", {"step": 0})
    assert back.summary.usage["calls"] == 10


def test_a_second_driver_is_kept_out_and_told_who_is_at_work(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", OWN_FOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout.readline() == "locked\n"
        with pytest.raises(JournalError, match=f"process {owner.pid}"), Journal.locked(tmp_path):
            pass
        owner.kill()
    with Journal.locked(tmp_path) as journal:
        assert journal.id


def test_a_folder_keeps_its_name_when_it_is_moved(tmp_path):
    with Journal.locked(tmp_path / "a") as journal:
        name = journal.id
    (tmp_path / "a").rename(tmp_path / "b")
    assert Journal(tmp_path / "b").id == name


@pytest.mark.parametrize(
    "left", ["", "\0\0\0", '{"id": "4f', "null", "[]", "{}", '{"id": null}', '{"id": ""}']
)
def test_a_folder_whose_name_was_lost_says_what_to_do(tmp_path, left):
    with Journal.locked(tmp_path):
        pass
    path = tmp_path / "journal.json"
    path.write_text(left)
    told = f"^{path} was emptied or damaged .* put it back from a backup, or delete it, after which"
    with pytest.raises(JournalError, match=told):
        Journal(tmp_path)
    with pytest.raises(JournalError, match=told), Journal.locked(tmp_path):
        pass
    assert path.read_text() == left


def test_a_folder_is_named_when_it_is_begun_and_anew_once_the_file_is_deleted(tmp_path):
    assert Journal(tmp_path).id == ""
    with Journal.locked(tmp_path) as journal:
        name = journal.id
    (tmp_path / "journal.json").unlink()
    assert Journal(tmp_path).id == ""
    with Journal.locked(tmp_path) as journal:
        assert journal.id not in ("", name)


def test_a_folder_tells_which_of_its_trials_are_not_planned(tmp_path, settings):
    journal = Journal(tmp_path)
    assert journal.trials_beside(["a"]) == set()
    for name in ("a", "b"):
        journal.recover(name).begin(settings)
    assert journal.trials_beside(["a", "c"]) == {"b"}


def test_baselines_read_back(tmp_path):
    with Journal.locked(tmp_path) as journal:
        assert journal.read_baselines("k") is None
        journal.write_baselines("k", [{"baseline": "initial"}])
        assert journal.read_baselines("k") == [{"baseline": "initial"}]


def test_a_folder_that_cannot_be_written_is_told_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(JournalError, match=r"cannot be read or written .* give another out_dir"),
        Journal.locked(tmp_path / "file" / "out"),
    ):
        pass


def test_a_full_disk_is_told_in_one_sentence(settings, toy_event, tmp_path):
    journal = TrialJournal.recover(tmp_path / "t")
    journal.begin(settings)
    (journal.folder / "events.jsonl").symlink_to("/dev/full")
    with pytest.raises(JournalError, match="No space left"):
        journal.append(toy_event(0), {"step": 0})
