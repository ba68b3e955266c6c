"""The command line of the local models says what is wrong and returns the right code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dln_core.errors import ConfigError
from dln_core.llm.local import weights
from dln_core.llm.local.__main__ import main
from dln_core.llm.local.extra import local_extra


@pytest.mark.parametrize("command", [["pull"], ["serve", "--port", "0"]])
def test_an_unknown_name_ends_with_2_and_near_names(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "smolm2"]) == 2
    assert "smollm2-135m" in capsys.readouterr().err


def test_wrong_usage_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "smollm2-135m", "--port", "70000"])
    assert ended.value.code == 2
    assert "65535" in capsys.readouterr().err


def test_list_shows_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(weights.MODELS_DIR_ENV, str(tmp_path))
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "smollm2-135m",
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
    ]
    assert all("not pulled" in line for line in lines)


def test_a_missing_extra_is_named_with_its_remedy() -> None:
    with pytest.raises(ConfigError, match=r"pip install 'dln\[local\]'"):
        local_extra("openvino_that_nobody_installed")


def test_importing_the_wing_loads_no_engine() -> None:
    script = (
        "import sys, dln_core.llm.local.server\n"
        "sys.exit(any(name.split('.')[0] in ('openvino', 'gguf') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
