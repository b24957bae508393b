"""The battery on a folder of plain transformers, on texts, rows or images of the user's own."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.battery import cache
from engine.battery.folder_kinds import Asked, kind_of
from engine.battery.uses import resolve
from engine.capabilities.base import Score
from engine.errors import InputError
from engine.files import sha256
from engine.i18n import tr
from engine.importing.folders import read_config, require_safetensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.store import Store

DATA = "data."
"""How fields begin that say how the data are to be read: ``data.label=COLUMN``."""
FILES = (
    "config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json",
    "merges.txt",
)  # fmt: skip
"""What decides, beside the weights, how they are used."""


@dataclass(frozen=True, slots=True)
class FolderMeasurement:
    """What was measured, and whether it had been before."""

    folder: Path
    capability: str
    scores: tuple[Score, ...]
    known: bool


def evaluate_folder(
    store: "Store",
    folder: Path,
    text: Path | None = None,
    options: "Mapping[str, str] | None" = None,
    *,
    data: str = "",
    names: "Sequence[str]" = (),
) -> FolderMeasurement:
    """What can be measured on the model of a folder: see ``KINDS``.

    ``text`` is a file or folder of texts for language models, ``data`` a labelled table, a folder of images by class
    or the name of a source of images for classifiers. ``options`` are the capability's, and ``data.FIELD`` of a table
    or folder of images. ``names`` are capabilities that were asked for.

    Raises:
        InputError: nothing can be measured on such a model, something else was asked for, or the data do not fit it.
    """
    config = read_config(folder)
    require_safetensors(folder)
    kind = kind_of(folder, config)
    if set(names) - {kind.capability}:
        raise InputError(
            tr("on a folder with such a model {name} can be measured.", name=kind.capability),
            tr("Import its results for more."),
        )
    given = {"--text": "" if text is None else str(text), "--data": data}
    if not given[kind.option]:
        raise InputError(
            tr("{path} is measured on {what}.", path=str(folder), what=tr(kind.needs)),
            tr("Name them with {option}.", option=kind.option),
        )
    told = options or {}
    switches = {"true": True, "false": False}
    fields = {k.removeprefix(DATA): switches.get(v, v) for k, v in told.items() if k.startswith(DATA)}
    own = {key: value for key, value in told.items() if not key.startswith(DATA)}
    (use,) = resolve([kind.capability], own, {})
    digest, work = kind.ready(Asked(folder, given[kind.option], fields, use, store.cache))
    values = cache.inputs(use.capability, use.options, _weights(folder), digest)
    scores, known = cache.measure(store, values, lambda: work(use))
    return FolderMeasurement(folder, use.title, tuple(scores), known)


def _weights(folder: Path) -> str:
    """SHA-256 over the weights and what decides how they are used, file by file."""
    files = [*sorted(folder.glob("*.safetensors")), *(folder / name for name in FILES if (folder / name).is_file())]
    return hashlib.sha256("".join(f"{file.name} {sha256(file)}\n" for file in files).encode()).hexdigest()
