"""The guide that comes with the program, as far as the window quotes it."""

import re
from functools import lru_cache
from pathlib import Path

from engine.i18n import language

GUIDE = Path(__file__).resolve().parent.parent / "resources" / "guide"


def about_source(name: str) -> str:
    """The first sentence that the guide says of a data source, in the language in use, without marks."""
    return _first_sentence(language(), name)


@lru_cache(maxsize=256)
def _first_sentence(language: str, name: str) -> str:
    text = (GUIDE / language / "sources.md").read_text(encoding="utf-8")
    found = re.search(rf"^## `{re.escape(name)}`\n+(.+?)\n\n", text, re.MULTILINE | re.DOTALL)
    if found is None:
        return ""
    joint = "" if language == "zh_CN" else " "
    paragraph = re.sub(r"[`*]", "", joint.join(found[1].split("\n")))
    sentence = re.match(r".+?(?:[。]|[.:](?= [A-Z])|$)", paragraph)
    return (sentence[0] if sentence else paragraph).rstrip(":")
