"""Published data sets that are files and no stream: below one folder, or where a setting of their own names them."""

from pathlib import Path

import dagster as dg

from convergence.errors import SettingsError


class Published(dg.ConfigurableResource):
    """Files by their name below `folder`; `instead` gives files that take another's place, by name of the setting."""

    folder: str
    instead: dict[str, str] = {}

    @property
    def root(self) -> Path | None:
        """The folder, or None where it is not there."""
        return Path(self.folder) if Path(self.folder).is_dir() else None

    def find(self, name: str, setting: str | None = None) -> Path | None:
        """The file, or that of the `setting` which may name another in its place; None where it is not there.

        Raises SettingsError if the setting names one that is not there.
        """
        named = self.instead.get(setting or "")
        path = Path(named or f"{self.folder}/{name}")
        if named and not path.is_file():
            raise SettingsError(f"a setting names {path} in place of {name}, which is no file: correct it, or unset it")
        return path if path.is_file() else None

    def path(self, name: str, setting: str | None = None) -> Path:
        """The same file. Raises SettingsError where it is not there."""
        if path := self.find(name, setting):
            return path
        raise SettingsError(
            f"the published file {name} is not in {self.folder} and nothing stands in for it: let CONVERGENCE_DATA "
            "name the folder that has it, or give the file by its own setting (docs/settings.md)"
        )
