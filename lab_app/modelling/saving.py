"""A fine-tuned model as a folder of its own, whole or not at all."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import ResourceError
from engine.i18n import tr
from engine.store.rows import RunRow

if TYPE_CHECKING:
    from engine.store import Reader


def saved_folder(reader: "Reader", home: Path, run: RunRow, parent: Path) -> Path:
    """Export a finished run into a new folder of ``parent`` and return it. Slow: for a thread.

    Raises:
        KnownError: it has no weights, they cannot be read, or the folder cannot be written.
    """
    from engine.exporting import export_hf

    name = re.sub(r"[^\w.-]+", "-", f"{run.study_id.rpartition('-')[0]}-{run.label}").strip("-")
    folder = _free(parent, name)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        partial.mkdir(parents=True)
        export_hf(reader, home, run.id, partial)
        partial.rename(folder)
    except OSError as error:
        why = error.strerror or str(error)
        raise ResourceError(
            tr("{folder} cannot be written: {why}.", folder=str(folder), why=why),
            tr("Choose another folder, or free some space."),
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _free(parent: Path, name: str) -> Path:
    """The first name of its kind that is not taken: what was saved before stays."""
    number, folder = 2, parent / name
    while folder.exists():
        folder, number = parent / f"{name}-{number}", number + 1
    return folder
