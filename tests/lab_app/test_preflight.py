"""What keeps the window from opening, said before Qt says it."""

import pytest

from engine.i18n import set_language
from lab_app import preflight
from lab_app.preflight import ALWAYS, WINDOW, missing_libraries, needed

X, OFFSCREEN = {"DISPLAY": ":0"}, {"QT_QPA_PLATFORM": "offscreen"}


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Libraries that the machine is made to lack."""
    missing: set[str] = set()
    monkeypatch.setattr(preflight, "loads", lambda library: library not in missing)
    return missing


def test_a_missing_library_is_named_with_its_package(lacking: set[str]) -> None:
    assert missing_libraries(X, "linux") == ""
    lacking |= {"libxcb-icccm.so.4", "libGL.so.1"}
    said = missing_libraries(X, "linux")
    assert "libGL.so.1, libxcb-icccm.so.4" in said
    assert said.endswith("sudo apt-get install libgl1 libxcb-icccm4")


@pytest.mark.parametrize(
    ("environ", "window"),
    [
        (X, True),
        (OFFSCREEN, False),
        (X | OFFSCREEN, False),
        ({"QT_QPA_PLATFORM": "xcb"}, True),
        ({"QT_QPA_PLATFORM": "xcb:opt"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, False),
        ({"QT_QPA_PLATFORM": "wayland-egl"}, False),
    ],
)
def test_only_an_x_window_needs_the_x_libraries(environ: dict[str, str], window: bool) -> None:
    assert needed(environ) == (ALWAYS | WINDOW if window else ALWAYS)


def test_no_screen_is_said_with_what_works_without(lacking: set[str]) -> None:
    said = missing_libraries({}, "linux")
    assert "no screen" in said and "main.py run quickstart" in said
    for environ in (X, OFFSCREEN, {"WAYLAND_DISPLAY": "wayland-0"}):
        assert missing_libraries(environ, "linux") == ""


def test_elsewhere_nothing_is_checked(lacking: set[str]) -> None:
    lacking |= set(ALWAYS)
    assert missing_libraries({}, "win32") == missing_libraries({}, "darwin") == ""


def test_it_speaks_the_language_in_use(lacking: set[str]) -> None:
    lacking.add("libGL.so.1")
    set_language("zh_CN")
    said = missing_libraries(X, "linux")
    assert "libgl1" in said and any("一" <= c <= "鿿" for c in said)


def test_the_linker_is_really_asked() -> None:
    assert preflight.loads("libc.so.6")
    assert not preflight.loads("libnosuchthing.so.9")
