"""Everything a person reads passes through ``tr``: one gettext catalogue serves the engine, the verbs and the app.

The catalogue is ``resources/i18n/<language>/LC_MESSAGES/emergence_lab.mo``; English is the source language.
``tr`` looks the literal up and only then formats it, so extraction finds every string.
"""

import gettext
import locale
import os
from pathlib import Path

LANGUAGES = {"en": "English", "zh_CN": "简体中文"}
CATALOGUES = Path(__file__).resolve().parent.parent / "resources" / "i18n"

_state: dict[str, gettext.NullTranslations | str] = {
    "language": "en",
    "catalogue": gettext.NullTranslations(),
}


def system_language() -> str:
    """The language asked for by the environment, ``en`` where it is not one we have."""
    name = os.environ.get("EMERGENCE_LAB_LANGUAGE") or os.environ.get("LC_ALL") or os.environ.get("LANG")
    name = name or locale.getlocale()[0] or ""
    return "zh_CN" if name.lower().startswith(("zh", "chinese")) else "en"


def set_language(language: str) -> None:
    """Switch the language of ``tr`` for the whole process; unknown names raise ``ValueError``."""
    if language not in LANGUAGES:
        raise ValueError(f"unknown language {language!r}; have {sorted(LANGUAGES)}")
    _state["catalogue"] = gettext.translation("emergence_lab", CATALOGUES, [language], fallback=True)
    _state["language"] = language


def language() -> str:
    """The language in use, one of ``LANGUAGES``."""
    return str(_state["language"])


def tr(text: str, /, **values: object) -> str:
    """The text in the language in use, with ``{name}`` fields filled in from ``values``."""
    catalogue = _state["catalogue"]
    assert isinstance(catalogue, gettext.NullTranslations)
    found = catalogue.gettext(text)
    return found.format(**values) if values else found


def mark(text: str) -> str:
    """Mark a literal for extraction where it is defined; ``tr`` it where it is shown."""
    return text
