"""What an import that was killed may leave is named here before it is made, and taken away when the home is opened."""

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path

JOURNAL = "importing.json"
"""File of a home that lists the numbers of runs whose folders are being made."""
STAGING = "incoming"
"""Folder of a home in which files are unpacked."""


def sweep(home: Path) -> None:
    """Take away the folders of runs that were not stored, and what was on its way; called under the home's lock."""
    if not (home / JOURNAL).exists():
        return
    moved = _journal(home)
    if moved:
        connection = sqlite3.connect(f"file:{home / 'lab.db'}?mode=ro", uri=True)
        with contextlib.closing(connection):
            kept = {row[0] for row in connection.execute("SELECT id FROM run")}
        for number in set(moved) - kept:
            shutil.rmtree(home / "artifacts" / str(number), ignore_errors=True)
    shutil.rmtree(home / STAGING, ignore_errors=True)
    (home / JOURNAL).unlink(missing_ok=True)


def _journal(home: Path) -> list[int]:
    try:
        told = json.loads((home / JOURNAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [number for number in told if isinstance(number, int)] if isinstance(told, list) else []
