"""What runs made while they trained, read from the store and from their folders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.i18n import tr
from lab_app.widgets.media import Item, read_item

if TYPE_CHECKING:
    from engine.store.reader import Reader


@dataclass(frozen=True, slots=True)
class Cell:
    """What one run made at one step."""

    run_id: int
    step: int
    items: tuple[Item, ...]


def read_cells(reader: "Reader", folders: Mapping[int, Path]) -> list[Cell]:
    """Everything that the runs made, by run and step; ``folders`` is where each keeps its files. Meant for a thread."""
    found: dict[tuple[int, int], list[Item]] = {}
    for run, folder in folders.items():
        for made in reader.samples(run):
            found.setdefault((run, made.step), []).append(read_item(made.kind, made.content, folder))
    return [Cell(run, step, tuple(items)) for (run, step), items in found.items()]


def media_words() -> dict[str, str]:
    """What ``lab_app.widgets.media`` says, in the language in use."""
    return {
        "play": tr("Play"),
        "stop": tr("Stop"),
        "no_player": tr("No program that plays sound was found; the file is in the run's folder."),
        "missing": tr("This file is gone:"),
        "image": tr("Image that the model made"),
    }
