"""What must not be loaded: Qt by the engine, torch by what only lists and reads."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import engine.runner, engine.lab, engine.cli", ("PySide6", "pyqtgraph", "qasync", "torch")),
        ("import engine.cli; engine.cli.main(['studies', '--json'])", ("torch", "transformers", "scipy")),
    ],
)
def test_loading_is_light(statement: str, forbidden: tuple[str, ...]) -> None:
    check = f"import sys; {statement}; bad = [m for m in {forbidden!r} if m in sys.modules]; assert not bad, bad"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
