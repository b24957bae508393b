"""Says which system libraries Qt would miss, before Qt is imported and dies in its own words. Imports no Qt."""

import ctypes
import os
import sys
from collections.abc import Mapping

from engine.i18n import tr

# Shared object -> Debian/Ubuntu package, measured on a bare Debian 12.
ALWAYS = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libfontconfig.so.1": "libfontconfig1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
}
# Only a real X window wants these; Qt blames xcb-cursor whichever of them is missing.
WINDOW = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}


def loads(library: str) -> bool:
    """Whether the dynamic linker finds the shared object."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def needed(environ: Mapping[str, str]) -> dict[str, str]:
    """Libraries wanted by the Qt platform that ``environ`` selects."""
    platform = environ.get("QT_QPA_PLATFORM", "").split(":")[0]
    windowless = platform in {"offscreen", "minimal", "vnc"} or (platform or "wayland").startswith("wayland")
    on_x = platform == "xcb" or (not platform and bool(environ.get("DISPLAY")))
    return {**ALWAYS, **WINDOW} if on_x or not windowless else dict(ALWAYS)


def missing_libraries(environ: Mapping[str, str] | None = None, platform: str = sys.platform) -> str:
    """One sentence on what keeps the window from opening, and its remedy; empty where nothing does.

    Only Linux is checked: elsewhere Qt's wheels bring all they need.
    """
    environ = os.environ if environ is None else environ
    if not platform.startswith("linux"):
        return ""
    missing = {library: package for library, package in needed(environ).items() if not loads(library)}
    if missing:
        return tr(
            "The window needs system libraries that this machine lacks: {libraries}. "
            "Install them with: sudo apt-get install {packages}",
            libraries=", ".join(missing),
            packages=" ".join(dict.fromkeys(missing.values())),
        )
    chosen = environ.get("QT_QPA_PLATFORM", "")
    if not chosen and not environ.get("DISPLAY") and not environ.get("WAYLAND_DISPLAY"):
        return tr(
            "There is no screen to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set). "
            "Give a verb to work without one, for example: python main.py run quickstart"
        )
    return ""
