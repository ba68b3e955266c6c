"""Where the configuration comes from: the schema, the ``conf`` and ``sweeps`` folders, the tasks.

A checkout uses its own top-level folders, an installed wheel its package data.  Folders of the
same names in the working directory add options; they never replace shipped ones.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from dln_core.errors import ConfigError
from dln_core.tasks import task_names
from orchestrator.settings.schema import RunConfig

# Groups whose options are those of another group, at a second place of the schema.
_MIRRORED = {"backward_llm": "llm", "judge_llm": "llm", "backward_limits": "limits"}
_GROUPS = ("task", "sweep", *_MIRRORED)


@dataclass(frozen=True, slots=True)
class ConfigFolders:
    """The folders that are read, the shipped one first.

    Attributes:
        conf: Folders of config groups.
        sweeps: Folders of sweep files.
    """

    conf: tuple[Path, ...]
    sweeps: tuple[Path, ...]


def find_folders(working_dir: Path) -> ConfigFolders:
    """Find the shipped folders and those that the user keeps in the working directory."""
    package = Path(__file__).resolve().parents[1]
    is_checkout = (package.parent / "pyproject.toml").is_file()
    root = package.parent if is_checkout else package / "_data"
    return ConfigFolders(
        conf=_with_own(root / "conf", working_dir / "conf"),
        sweeps=_with_own(root / "sweeps", working_dir / "sweeps"),
    )


def use_folders(folders: ConfigFolders) -> None:
    """Let Hydra read these folders from now on, behind its primary one, and know the schema."""
    ProjectSource.folders = ProjectSearchPath.folders = folders
    _register()


@cache
def _register() -> None:
    store = ConfigStore.instance()
    store.store(name="run_config", node=RunConfig)
    # Hydra copies its sources at every look into a group, and with them the store, the only one of
    # its kind, which copies what it hands out: that took most of the time of --help.
    store.__deepcopy__ = lambda _memo: store  # type: ignore[attr-defined]
    for plugin in (ProjectSource, ProjectSearchPath):
        Plugins.instance().register(plugin)


class ProjectSource(ConfigSource):
    """The groups that are no folder of ``conf``: tasks, sweeps and the mirrored groups.

    Their options are read from their files when asked for.
    """

    folders: ClassVar[ConfigFolders]

    @staticmethod
    def scheme() -> str:
        """Name the kind of address that this source serves."""
        return "orchestrator"

    def available(self) -> bool:
        """Tell that the source can always be read."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Tell whether the path is a group of this source."""
        return config_path.strip("/") in ("", *_GROUPS)

    def is_config(self, config_path: str) -> bool:
        """Tell whether the path is an option of a group of this source."""
        group, name = _split(config_path)
        return name in self._options(group)

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        """List the groups at the root, or the options of a group."""
        group = config_path.strip("/")
        kind = ObjectType.CONFIG if group else ObjectType.GROUP
        if results_filter not in (None, kind):
            return []
        return sorted(self._options(group) if group else _GROUPS)

    def load_config(self, config_path: str) -> ConfigResult:
        """Read an option.

        Raises:
            ConfigError: If its file cannot be read.
        """
        group, name = _split(config_path)
        options = self._options(group)
        if name not in options:
            raise ConfigLoadError(f"Config not found : {config_path}")
        path = options[name]
        config = _read_yaml(path) if path else OmegaConf.create({"name": name})
        if group == "sweep":
            config.setdefault("sweep", name)
        return ConfigResult(
            provider=self.provider,
            path=self.full_path(),
            config=config,
            header={"package": "_global_" if group == "sweep" else None},
        )

    def _options(self, group: str) -> dict[str, Path | None]:
        """The options of a group and their files; a task of the catalogue needs none."""
        if group == "task":
            return dict.fromkeys(task_names())
        if group == "sweep":
            folders = self.folders.sweeps
        elif group in _MIRRORED:
            folders = tuple(folder / _MIRRORED[group] for folder in self.folders.conf)
        else:
            return {}
        # The shipped folder comes last, so that its files stand.
        paths = [path for folder in reversed(folders) for path in folder.glob("*.yaml")]
        return {path.stem: path for path in paths}


class ProjectSearchPath(SearchPathPlugin):
    """Puts this project's source and the user's folders behind Hydra's primary one."""

    folders: ClassVar[ConfigFolders]

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the source and the folders; Hydra calls this once a session."""
        search_path.append("orchestrator", f"{ProjectSource.scheme()}://")
        for path in self.folders.conf[1:]:
            search_path.append("working-directory", f"file://{path}")


def _with_own(shipped: Path, own: Path) -> tuple[Path, ...]:
    if own.is_dir() and own.resolve() != shipped:
        return shipped, own.resolve()
    return (shipped,)


def _split(config_path: str) -> tuple[str, str]:
    group, _, name = config_path.strip("/").removesuffix(".yaml").partition("/")
    return group, name


def _read_yaml(path: Path) -> DictConfig:
    try:
        content = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read as YAML: {reason}") from error
    if not isinstance(content, DictConfig):
        raise ConfigError(f"{path} holds a list; it must be a table of keys and values")
    return content
