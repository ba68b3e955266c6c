"""Where the configuration comes from: the schema, the ``conf`` and ``sweeps`` folders, the tasks.

A checkout uses its own top-level folders, an installed wheel its package data.  Folders of the
same names in the working directory add options; they never replace shipped ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from dln_core.errors import ConfigError
from dln_core.tasks import task_names
from orchestrator.schema import RunConfig

# A group whose options are also options of a second group, at another place of the schema.
MIRRORED_GROUPS = {"llm": "backward_llm", "limits": "backward_limits"}


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
    package = Path(__file__).resolve().parent
    is_checkout = (package.parent / "pyproject.toml").is_file()
    root = package.parent if is_checkout else package / "_data"
    return ConfigFolders(
        conf=_with_own(root / "conf", working_dir / "conf"),
        sweeps=_with_own(root / "sweeps", working_dir / "sweeps"),
    )


def register_configs(folders: ConfigFolders) -> None:
    """Give Hydra everything that is not a file of its primary folder."""
    store = ConfigStore.instance()
    store.store(name="run_config", node=RunConfig)
    for name in task_names():
        store.store(group="task", name=name, node={"name": name})
    for name, node in _yaml_files(folders.sweeps):
        node.setdefault("sweep", name)
        store.store(group="sweep", name=name, node=node, package="_global_")
    for group, mirror in MIRRORED_GROUPS.items():
        for name, node in _yaml_files(tuple(folder / group for folder in folders.conf)):
            store.store(group=mirror, name=name, node=node)
    Plugins.instance().register(UserConfigFolders)


def has_task_file(folders: ConfigFolders, name: str) -> bool:
    """Tell whether a file stands in front of the catalogue's task of that name."""
    return any((folder / "task" / f"{name}.yaml").is_file() for folder in folders.conf)


class UserConfigFolders(SearchPathPlugin):
    """Appends the user's folders to Hydra's search path, behind the shipped one."""

    paths: tuple[Path, ...] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders; Hydra calls this once a session."""
        for path in self.paths:
            search_path.append(provider="working-directory", path=f"file://{path}")


def _with_own(shipped: Path, own: Path) -> tuple[Path, ...]:
    if own.is_dir() and own.resolve() != shipped:
        return shipped, own.resolve()
    return (shipped,)


def _yaml_files(folders: tuple[Path, ...]) -> Iterator[tuple[str, DictConfig]]:
    seen: set[str] = set()
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            if path.stem not in seen:
                seen.add(path.stem)
                yield path.stem, _read_yaml(path)


def _read_yaml(path: Path) -> DictConfig:
    try:
        content = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} cannot be read as YAML: {reason}") from error
    if not isinstance(content, DictConfig):
        raise ConfigError(f"{path} holds a list; it must be a table of keys and values")
    return content
