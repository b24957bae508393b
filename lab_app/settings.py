"""What the window remembers, in one INI file beside the lab's data, so that copying a home copies it too."""

from pathlib import Path
from typing import Any

from PySide6.QtCore import QByteArray, QSettings

FILE = "app.ini"


class Settings:
    """Typed access to the INI file. ``safe_mode`` reads nothing and keeps what is written to itself."""

    def __init__(self, home: Path, *, safe_mode: bool = False) -> None:
        self.path = home / FILE
        self.safe_mode = safe_mode
        self._memory: dict[str, Any] = {}
        self._file = None if safe_mode else QSettings(str(self.path), QSettings.Format.IniFormat)

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self._get(key, default)
        return value if isinstance(value, str) else default

    def flag(self, key: str, default: bool = False) -> bool:
        """A boolean; INI keeps it as ``true`` or ``false``."""
        return str(self._get(key, default)).lower() == "true"

    def number(self, key: str, default: float) -> float:
        """A number; anything unreadable is the default."""
        try:
            return float(self._get(key, default))
        except (TypeError, ValueError):
            return default

    def data(self, key: str) -> QByteArray:
        """Bytes such as a window's geometry; empty where there are none."""
        value = self._get(key, QByteArray())
        return value if isinstance(value, QByteArray) else QByteArray()

    def texts(self, key: str) -> list[str]:
        """A list of strings, kept joined by newlines because INI lists of one item read back as a string."""
        return [line for line in self.text(key).split("\n") if line]

    def put(self, key: str, value: str | bool | float | QByteArray | list[str]) -> None:
        """Remember a value; it reaches the disk when Qt next writes the file, at the latest in ``sync``."""
        stored: Any = "\n".join(value) if isinstance(value, list) else value
        if self._file is None:
            self._memory[key] = stored
        else:
            self._file.setValue(key, stored)

    def sync(self) -> bool:
        """Write to disk now; False where the home cannot be written."""
        if self._file is None:
            return True
        self._file.sync()
        return self._file.status() == QSettings.Status.NoError

    def _get(self, key: str, default: Any) -> Any:
        if self._file is None:
            return self._memory.get(key, default)
        return self._file.value(key, default)
