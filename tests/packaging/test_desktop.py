"""The menu entry: its Exec line means what it should, and starting exactly that opens a window."""

import configparser
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.packaging.scripts import ROOT, load


def parse_exec(line: str) -> list[str]:
    """Arguments of an Exec line by the Desktop Entry Specification: string escapes, quotes, then field codes."""
    line = line.replace("\\\\", "\\")
    arguments, current, quoted, characters = [], "", False, iter(line)
    for character in characters:
        if character == "\\" and quoted:
            current += next(characters)
        elif character == '"':
            quoted = not quoted
        elif character == " " and not quoted:
            arguments.append(current)
            current = ""
        else:
            current += character
    return [argument.replace("%%", "%") for argument in [*arguments, current]]


def installed_entry(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    assert load("install_desktop").main(["--no-desktop"]) == 0
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(home / "data" / "applications" / "emergence-lab.desktop", encoding="utf-8")
    return dict(parser["Desktop Entry"])


@pytest.mark.skipif(os.name == "nt", reason="a Linux desktop entry")
def test_the_entry_starts_main_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = installed_entry(tmp_path, monkeypatch)
    python, main = parse_exec(entry["Exec"])
    assert os.access(python, os.X_OK)
    assert Path(main) == ROOT / "main.py"
    assert entry["Terminal"] == "false"
    assert entry["Name[zh_CN]"]
    assert (tmp_path / "data" / "icons" / "hicolor" / "scalable" / "apps" / "emergence-lab.svg").is_file()
    if shutil.which("desktop-file-validate"):
        file = tmp_path / "data" / "applications" / "emergence-lab.desktop"
        subprocess.run(["desktop-file-validate", str(file)], check=True)


@pytest.mark.skipif(os.name == "nt", reason="a Linux desktop entry")
def test_uninstall_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed_entry(tmp_path, monkeypatch)
    assert load("install_desktop").main(["--uninstall"]) == 0
    assert [path for path in (tmp_path / "data").rglob("*") if path.is_file() and "mimeinfo" not in path.name] == []


@pytest.mark.parametrize("path", ["/opt/lab", "/opt/my lab", '/opt/a"b', "/opt/$HOME", "/opt/a%b", "/opt/a`b", "/o\\p"])
def test_any_path_survives_the_exec_line(path: str) -> None:
    assert parse_exec(load("install_desktop").quote(path)) == [path]


def test_the_windows_shortcut_quotes_its_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    desktop = load("install_desktop")
    monkeypatch.setattr(desktop, "ROOT", Path("/users/o'neil/lab"))
    script = desktop.shortcut_script([Path("/desk/Emergence Lab.lnk")])
    assert "$shell.CreateShortcut('/desk/Emergence Lab.lnk')" in script
    assert "o''neil" in script


@pytest.mark.window
@pytest.mark.timeout(120)
@pytest.mark.skipif(
    not all(map(shutil.which, ("Xvfb", "xdotool"))) or sys.platform != "linux", reason="needs Xvfb and xdotool"
)
@pytest.mark.skipif(find_spec("lab_app.app") is None, reason="the window is not in this version yet")
def test_starting_the_exec_line_opens_a_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = installed_entry(tmp_path, monkeypatch)
    environment = {key: value for key, value in os.environ.items() if key != "QT_QPA_PLATFORM"}
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as number:
        environment["DISPLAY"] = ":" + number.readline().strip()
    with (tmp_path / "app.log").open("wb") as log:
        app = subprocess.Popen(
            parse_exec(entry["Exec"]),
            cwd=entry["Path"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            title = wait_for_window(environment, app, 90)
        finally:
            if app.poll() is None:
                os.killpg(app.pid, signal.SIGKILL)
            app.wait()
            server.terminate()
            server.wait()
    assert title, (tmp_path / "app.log").read_text(errors="replace")[-2000:]


def wait_for_window(environment: dict[str, str], app: "subprocess.Popen[bytes]", seconds: float) -> str:
    """Title of the main window once it is visible; empty if the app ends or time runs out."""
    deadline = time.monotonic() + seconds
    search = ["xdotool", "search", "--onlyvisible", "--name", "Emergence Lab", "getwindowname", "%@"]
    while time.monotonic() < deadline and app.poll() is None:
        found = subprocess.run(search, env=environment, capture_output=True, text=True, check=False)
        if found.returncode == 0 and found.stdout.strip():
            return found.stdout.strip()
        time.sleep(0.3)
    return ""
