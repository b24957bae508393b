"""The language of the window, switched while it runs: every text is said through here and said again on a change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QLibraryInfo, QLocale, QObject, QTranslator, Signal
from PySide6.QtWidgets import QApplication
from shiboken6 import isValid

from engine import i18n
from engine.i18n import tr


class Language(QObject):
    """Speaks ``mark``ed literals through ``tr`` now and again whenever the language changes."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._said: list[tuple[QObject, Callable[[str], Any], str, dict[str, object]]] = []
        self._qt: QTranslator | None = None

    @property
    def name(self) -> str:
        """The language in use, a key of ``engine.i18n.LANGUAGES``."""
        return i18n.language()

    def say(self, owner: QObject, setter: Callable[[str], Any], text: str, **values: object) -> None:
        """Call ``setter`` with the text in every language that is chosen while ``owner`` lives.

        ``text`` is a literal wrapped in ``mark``; ``values`` fill its fields.
        """
        self._said.append((owner, setter, text, values))
        setter(tr(text, **values))

    def use(self, language: str) -> None:
        """Switch the engine, Qt's own texts and everything said so far. Unknown names raise ``ValueError``."""
        i18n.set_language(language)
        self._load_qt(language)
        self._said = [entry for entry in self._said if isValid(entry[0])]
        for _, setter, text, values in self._said:
            setter(tr(text, **values))
        self.changed.emit()

    def _load_qt(self, language: str) -> None:
        app = QApplication.instance()
        if self._qt is not None:
            app.removeTranslator(self._qt)
            self._qt = None
        QLocale.setDefault(QLocale(language) if language != "en" else QLocale.c())
        if language == "en":
            return
        translator = QTranslator(self)
        folder = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.TranslationsPath))
        if translator.load(f"qtbase_{language}", str(folder)):
            app.installTranslator(translator)
            self._qt = translator
