"""What the window remembers, and that nonsense in the file does no harm."""

import os
from pathlib import Path

import pytest
from PySide6.QtCore import QByteArray
from PySide6.QtWidgets import QApplication

from lab_app.settings import Settings


def test_every_kind_of_value_is_read_back(tmp_path: Path, qapp: QApplication) -> None:
    settings = Settings(tmp_path)
    settings.put("a/text", "words, with a comma")
    settings.put("a/yes", True)
    settings.put("a/no", False)
    settings.put("a/number", 2.5)
    settings.put("a/bytes", QByteArray(b"\0\1\2"))
    settings.put("a/one", ["single"])
    settings.put("a/many", ["x", "y, z"])
    settings.put("a/none", [])
    assert settings.sync()
    again = Settings(tmp_path)
    assert again.text("a/text") == "words, with a comma"
    assert (again.flag("a/yes"), again.flag("a/no", True)) == (True, False)
    assert again.number("a/number", 0) == 2.5
    assert again.data("a/bytes") == QByteArray(b"\0\1\2")
    assert [again.texts(f"a/{name}") for name in ("one", "many", "none", "missing")] == [
        ["single"],
        ["x", "y, z"],
        [],
        [],
    ]


def test_unreadable_values_are_the_default(tmp_path: Path, qapp: QApplication) -> None:
    (tmp_path / "app.ini").write_text("[x]\nlist=a, b\nnumber=many\nflag=maybe\nbytes=rubbish\ntext=@Invalid()\n")
    settings = Settings(tmp_path)
    assert settings.text("x/list", "d") == "d"
    assert settings.number("x/number", 3) == 3
    assert not settings.flag("x/flag", True)
    assert settings.data("x/bytes").isEmpty()
    assert settings.text("x/text", "d") == "d"
    assert settings.text("missing", "d") == "d" and settings.number("missing", 1.5) == 1.5


def test_a_file_that_is_no_ini_is_borne(tmp_path: Path, qapp: QApplication) -> None:
    (tmp_path / "app.ini").write_bytes(bytes(range(256)) * 10)
    settings = Settings(tmp_path)
    assert settings.text("last/page", "home") == "home"


def test_safe_mode_reads_nothing_and_keeps_nothing(tmp_path: Path, qapp: QApplication) -> None:
    (tmp_path / "app.ini").write_text("[last]\npage=scale\n")
    settings = Settings(tmp_path, safe_mode=True)
    assert settings.text("last/page", "home") == "home"
    settings.put("last/page", "train")
    assert settings.text("last/page") == "train" and settings.sync()
    assert (tmp_path / "app.ini").read_text() == "[last]\npage=scale\n"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, qapp: QApplication) -> None:
    settings = Settings(tmp_path)
    tmp_path.chmod(0o500)
    settings.put("x", "y")
    assert not settings.sync()
    tmp_path.chmod(0o700)
