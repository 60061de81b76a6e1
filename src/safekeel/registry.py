"""One small dictionary per kind of plug-in: built-in ones are added explicitly, others come through entry points.

    ATTACKS: Registry[AttackFamily] = Registry("attack", "safekeel.attacks")
    ATTACKS.add("role-play", FAMILY)

Another package adds one by declaring, in its pyproject.toml:

    [project.entry-points."safekeel.attacks"]
    my-family = "my_package.my_family:FAMILY"
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from safekeel.errors import UsageError, nearest

PluginT = TypeVar("PluginT")


class Registry(Generic[PluginT]):
    """Plug-ins of one kind by name. Entry points are listed at the first look-up and imported when asked for."""

    def __init__(self, kind: str, entry_point_group: str) -> None:
        self.kind, self.entry_point_group = kind, entry_point_group
        self._plugins: dict[str, PluginT] = {}
        self._entry_points: dict[str, EntryPoint] | None = None

    def add(self, name: str, plugin: PluginT) -> None:
        """Add a built-in plug-in.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._plugins:
            raise ValueError(f"two {self.kind} plug-ins are named {name!r}; rename one.")
        self._plugins[name] = plugin

    def names(self) -> list[str]:
        """All names: built-in ones in the order they were added, then those of installed packages."""
        return [*self._plugins, *(name for name in self._external() if name not in self._plugins)]

    def get(self, name: str) -> PluginT:
        """The plug-in of that name; a built-in one wins over an installed one.

        Raises:
            UsageError: no such name (the nearest is offered), or the package that offers it cannot be imported.
        """
        if name in self._plugins:
            return self._plugins[name]
        if name not in self._external():
            known = self.names()
            listed = ", ".join(known) or "none is installed"
            raise UsageError(f"No {self.kind} {name!r}.{nearest(name, known)} Known: {listed}.")
        entry = self._external()[name]
        try:
            plugin: PluginT = entry.load()
        except Exception as error:  # another package's import may fail in any way
            source = entry.dist.name if entry.dist else entry.value
            raise UsageError(
                f"The {self.kind} {name!r} of the package {source!r} cannot be imported "
                f"({type(error).__name__}: {error}). Repair or uninstall that package."
            ) from error
        self._plugins[name] = plugin
        return plugin

    def _external(self) -> dict[str, EntryPoint]:
        if self._entry_points is None:
            self._entry_points = {entry.name: entry for entry in entry_points(group=self.entry_point_group)}
        return self._entry_points
