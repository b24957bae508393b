"""The program as a process of its own: what it loads, what Qt takes from None, and a home that is in use."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.lab import Lab

ROOT = Path(__file__).resolve().parents[2]


def python(code: str, home: Path) -> "subprocess.CompletedProcess[str]":
    environ = os.environ | {"QT_QPA_PLATFORM": "offscreen", "EMERGENCE_LAB_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=120
    )


OPEN = """
import json, sys
from PySide6.QtCore import QTimer
from lab_app import app

seen = {}

class Watched(app.Program):
    def open(self):
        super().open()
        self.app.processEvents()
        seen["shown"] = self.window.isVisible()
        seen["loaded"] = sorted({m.split(".")[0] for m in sys.modules})
        self.loader.start = lambda: None
        QTimer.singleShot(100, self.window.close)

app.Program = Watched
code = app.main([])
print(json.dumps(seen | {"code": code}))
"""


def test_the_window_opens_without_torch_and_leaves_cleanly(tmp_path: Path) -> None:
    done = python(OPEN, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["shown"] and seen["code"] == 0
    heavy = {"torch", "transformers", "matplotlib", "pyqtgraph", "sklearn", "scipy", "pyarrow", "pandas"}
    assert heavy & set(seen["loaded"]) == set()
    said = [line for line in done.stderr.splitlines() if "propagateSizeHints" not in line]
    assert said == []
    assert (tmp_path / "home" / "app.ini").is_file() and (tmp_path / "home" / "app.log").read_text() == ""


IN_USE = """
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMessageBox
from lab_app import app

class Box(QMessageBox):
    def exec(self):
        QTimer.singleShot(50, self.accept)
        super().exec()
        print(self.text(), self.informativeText(), sep="|")

app.QMessageBox = Box
raise SystemExit(app.main([]))
"""


def test_a_home_in_use_is_one_sentence_and_code_2(tmp_path: Path) -> None:
    with Lab.open(tmp_path / "home"):
        done = python(IN_USE, tmp_path / "home")
    assert done.returncode == 2, done.stderr
    assert "in use by another Emergence Lab" in done.stderr
    text, remedy = done.stdout.strip().split("|")
    assert "in use by another" in text and "--home" in remedy
    assert "Traceback" not in done.stderr


NONE = """
import sys
from PySide6.QtWidgets import QApplication, QLabel

app = QApplication([])
label = QLabel()
before = sys.getrefcount(None)
for number in range(10_000):
    label.setText("x")
    label.update()
    label.setEnabled(bool(number % 2))
print(sys.getrefcount(None) - before)
"""


def test_qt_does_not_lose_references_to_none(tmp_path: Path) -> None:
    """PySide6 6.12.0 on Python 3.11 does, and aborts the interpreter after some thousand calls."""
    done = python(NONE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > -100


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--home"]])
def test_wrong_options_are_told(tmp_path: Path, arguments: list[str]) -> None:
    done = python(f"from lab_app import app; app.main({arguments!r})", tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and "usage: main.py" in done.stderr
