"""Puts Emergence Lab in the menu and on the desktop, to be opened by double-click. Standard library only.

    python3 packaging/install_desktop.py [--no-desktop]   menu entry, desktop icon
    python3 packaging/install_desktop.py --uninstall      take them away

Linux gets a ``.desktop`` entry, Windows a shortcut; neither opens a terminal. Paths are absolute, so install
again after moving the folder.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "emergence-lab"
ICON = Path("icons") / "hicolor" / "scalable" / "apps" / f"{NAME}.svg"


def data_home() -> Path:
    """The user's data folder by the XDG rules."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def quote(argument: str) -> str:
    """An argument of an Exec line, quoted by the Desktop Entry Specification."""
    for character in ("\\", '"', "`", "$"):
        argument = argument.replace(character, "\\" + character)
    # The value itself is a string, in which a backslash is written twice; % begins a field code.
    return '"' + argument.replace("\\", "\\\\").replace("%", "%%") + '"'


def python() -> Path:
    """The interpreter an entry starts: the environment's where there is one; main.py sets itself up otherwise."""
    inside = ROOT / ".venv" / ("Scripts/pythonw.exe" if os.name == "nt" else "bin/python")
    if inside.exists():
        return inside
    here = Path(sys.executable)
    windowless = here.with_name("pythonw.exe")
    return windowless if windowless.exists() else here


def entry() -> str:
    """The text of the ``.desktop`` file."""
    return f"""[Desktop Entry]
Type=Application
Version=1.5
Name=Emergence Lab
Name[zh_CN]=涌现实验室
Comment=What happens to a model's abilities as it grows
Comment[zh_CN]=模型变大时，它的能力会怎样
Exec={quote(str(python()))} {quote(str(ROOT / "main.py"))}
Path={str(ROOT).replace(chr(92), chr(92) * 2)}
Icon={NAME}
Terminal=false
Categories=Education;Science;ArtificialIntelligence;
StartupNotify=true
StartupWMClass={NAME}
"""


def linux_files(desktop: bool) -> list[Path]:
    """Where the entry stands: the menu, and the desktop folder where there is one."""
    files = [data_home() / "applications" / f"{NAME}.desktop"]
    folder = Path.home() / "Desktop"
    if shutil.which("xdg-user-dir"):
        asked = subprocess.run(["xdg-user-dir", "DESKTOP"], capture_output=True, text=True, check=False).stdout.strip()
        # Where no desktop folder is set the answer is the home folder itself.
        folder = Path(asked) if asked and Path(asked) != Path.home() else folder
    if desktop and folder.is_dir():
        files.append(folder / f"{NAME}.desktop")
    return files


def install_linux(desktop: bool) -> list[Path]:
    """Write entry and icon; returns the files written."""
    icon = data_home() / ICON
    icon.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(ROOT / "packaging" / f"{NAME}.svg", icon)
    written = [icon]
    for path in linux_files(desktop):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entry(), encoding="utf-8")
        path.chmod(0o755)
        written.append(path)
    refresh = shutil.which("update-desktop-database")
    if refresh:
        subprocess.run([refresh, str(data_home() / "applications")], capture_output=True, check=False)
    return written


def shortcut_script(links: list[Path]) -> str:
    """PowerShell that writes Windows shortcuts; a single quote is doubled inside a quoted string."""

    def text(value: object) -> str:
        return "'" + str(value).replace("'", "''") + "'"

    lines = ["$shell = New-Object -ComObject WScript.Shell"]
    for link in links:
        lines += [
            f"$link = $shell.CreateShortcut({text(link)})",
            f"$link.TargetPath = {text(python())}",
            f"$link.Arguments = {text(chr(34) + str(ROOT / 'main.py') + chr(34))}",
            f"$link.WorkingDirectory = {text(ROOT)}",
            "$link.Description = 'Emergence Lab'",
            "$link.Save()",
        ]
    return "\n".join(lines)


def windows_links(desktop: bool) -> list[Path]:
    """Where the shortcuts stand: the Start menu, and the desktop."""
    menu = Path(os.environ.get("APPDATA", Path.home())) / "Microsoft" / "Windows" / "Start Menu" / "Programs"
    links = [menu / "Emergence Lab.lnk"]
    return [*links, Path.home() / "Desktop" / "Emergence Lab.lnk"] if desktop else links


def install_windows(desktop: bool) -> list[Path]:
    """Write the shortcuts; returns them."""
    links = windows_links(desktop)
    command = ["powershell", "-NoProfile", "-NonInteractive", "-Command", shortcut_script(links)]
    subprocess.run(command, check=True)
    return links


def uninstall() -> list[Path]:
    """Take away what was installed; returns what was there."""
    files = windows_links(True) if os.name == "nt" else [data_home() / ICON, *linux_files(True)]
    there = [path for path in files if path.exists()]
    for path in there:
        path.unlink()
    return there


def main(arguments: list[str]) -> int:
    """Install or uninstall; returns the exit code."""
    parser = argparse.ArgumentParser(description="Put Emergence Lab in the menu and on the desktop.")
    parser.add_argument("--no-desktop", action="store_true", help="only the menu entry")
    parser.add_argument("--uninstall", action="store_true", help="take the entries away")
    options = parser.parse_args(arguments)
    try:
        if options.uninstall:
            files, verb = uninstall(), "removed"
        else:
            install = install_windows if os.name == "nt" else install_linux
            files, verb = install(not options.no_desktop), "wrote"
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"The entries could not be written: {error}", file=sys.stderr)
        return 2
    for path in files:
        print(f"{verb} {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
