"""The catalogue of translations: extract strings, compile them, check that none is missing. Needs babel ([test]).

python packaging/i18n.py extract   strings of the code into the .po, keeping translations
python packaging/i18n.py compile   the .po into the .mo the program reads
python packaging/i18n.py check     exit 1 where a string is untranslated, unfinished or stale
"""

import ast
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
PO = ROOT / "resources" / "i18n" / "zh_CN" / "LC_MESSAGES" / "emergence_lab.po"
MO = PO.with_suffix(".mo")
FUNCTIONS = {"tr", "mark"}
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Dates are fixed so that the same strings give the same files."""


def sources() -> list[Path]:
    """The code that people read the words of."""
    found = [ROOT / "main.py"]
    for folder in ("engine", "lab_app", "packaging"):
        found += (ROOT / folder).rglob("*.py")
    return sorted(path for path in found if "wheelhouse/" not in path.as_posix())


def messages(tree: ast.AST) -> Iterator[str]:
    """The literals passed to ``tr`` and ``mark``, both branches of a conditional one (babel would join the two)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and node.args:
            branches = [node.args[0]]
            while branches:
                text = branches.pop()
                if isinstance(text, ast.IfExp):
                    branches += [text.body, text.orelse]
                elif isinstance(text, ast.Constant) and isinstance(text.value, str) and text.value:
                    yield text.value


def extract() -> Catalog:
    """Every ``tr("…")`` and ``mark("…")`` of the code, with the translations there are."""
    old = read() if PO.exists() else Catalog(locale="zh_CN")
    fresh = empty()
    for path in sources():
        name = path.relative_to(ROOT).as_posix()
        for message in messages(ast.parse(path.read_text(encoding="utf-8"))):
            # Line numbers would change the file at every edit of the code.
            fresh.add(message, locations=[(name, 0)])
    for message in fresh:
        known = old.get(message.id) if message.id else None
        if known is not None:
            message.string = known.string
    return fresh


def empty() -> Catalog:
    """A catalogue with a fixed header."""
    catalogue = Catalog(locale="zh_CN", project="Emergence Lab", version="", charset="utf-8", fuzzy=False)
    catalogue.header_comment = "# Simplified Chinese of Emergence Lab."
    catalogue.creation_date = catalogue.revision_date = EPOCH
    catalogue.last_translator = catalogue.language_team = "Emergence Lab"
    return catalogue


def read() -> Catalog:
    """The catalogue as committed."""
    with PO.open("rb") as file:
        return read_po(file, locale="zh_CN", charset="utf-8")


def po_bytes(catalogue: Catalog) -> bytes:
    """The text of the .po, sorted by message."""
    buffer = BytesIO()
    write_po(buffer, catalogue, width=110, sort_output=True, ignore_obsolete=True, include_lineno=False)
    return buffer.getvalue()


def mo_bytes(catalogue: Catalog) -> bytes:
    """The compiled catalogue."""
    catalogue.creation_date = catalogue.revision_date = EPOCH
    buffer = BytesIO()
    write_mo(buffer, catalogue)
    return buffer.getvalue()


def fields(text: str) -> set[str]:
    """Names of the ``{fields}`` of a message."""
    return set(re.findall(r"\{(\w+)", text))


def problems() -> list[str]:
    """What is wrong with the catalogue, one line each."""
    if not PO.exists() or not MO.exists():
        return [f"there is no {(PO if not PO.exists() else MO).relative_to(ROOT)}"]
    committed, wanted = read(), extract()
    have = {message.id: message for message in committed if message.id}
    found = [f"not in the catalogue: {m.id!r} ({m.locations[0][0]})" for m in wanted if m.id and m.id not in have]
    known = {message.id for message in wanted}
    for identity, message in have.items():
        if identity not in known:
            found.append(f"no longer in the code: {identity!r}")
        elif not message.string:
            found.append(f"untranslated: {identity!r}")
        elif message.fuzzy:
            found.append(f"fuzzy: {identity!r}")
        elif fields(str(identity)) != fields(str(message.string)):
            found.append(f"fields differ: {identity!r} and {message.string!r}")
    if not found and MO.read_bytes() != mo_bytes(committed):
        found.append("the .mo does not come from the .po: run packaging/i18n.py compile")
    return found


def main(arguments: list[str]) -> int:
    """Run one of the three verbs; returns the exit code."""
    verb = arguments[0] if arguments else ""
    if verb == "extract":
        catalogue = extract()
        PO.parent.mkdir(parents=True, exist_ok=True)
        PO.write_bytes(po_bytes(catalogue))
        print(f"{len(catalogue)} strings, {sum(1 for m in catalogue if m.id and not m.string)} untranslated")
        return 0
    if verb == "compile":
        MO.write_bytes(mo_bytes(read()))
        return 0
    if verb == "check":
        found = problems()
        print("\n".join(found) or "the catalogue is complete", file=sys.stderr if found else sys.stdout)
        return 1 if found else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
