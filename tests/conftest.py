"""What every test stands on: no display, a home of its own, no network, nothing left running."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports Qt or torch.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["EMERGENCE_LAB_LANGUAGE"] = "en"
os.environ["HF_HUB_OFFLINE"] = "1"

NOT_OURS = ("pytest", "execnet", "Dummy-", "MainThread", "tqdm", "QThread", "Thread-subproc", "pymp", "asyncio_")
"""Threads of the tools and libraries themselves, which live as long as the process."""


class NetworkBlocked(RuntimeError):
    """A test tried to reach beyond this machine."""


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Only local sockets connect: the whole suite must pass with networking off."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(sock: socket.socket, address: object) -> None:
        local = sock.family == getattr(socket, "AF_UNIX", None)
        if not local and isinstance(address, tuple):
            local = str(address[0]) in {"localhost", "::1"} or str(address[0]).startswith("127.")
        if not local:
            raise NetworkBlocked(f"a test tried to connect to {address!r}")

    def guarded(sock: socket.socket, address: object) -> None:
        check(sock, address)
        connect(sock, address)  # type: ignore[arg-type]

    def guarded_ex(sock: socket.socket, address: object) -> int:
        check(sock, address)
        return connect_ex(sock, address)  # type: ignore[arg-type]

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    patch.setattr(socket.socket, "connect_ex", guarded_ex)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings, caches and the lab's home of one test, away from the user's."""
    folder = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("EMERGENCE_LAB_HOME", str(folder / "home"))
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
    return folder


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Every test begins and ends in English, whatever it switches to."""
    from engine.i18n import set_language

    set_language("en")
    yield
    set_language("en")


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves a thread behind; a stopped one gets two seconds to end."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 2.0
    while (left := _new_threads(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"threads left running: {[thread.name for thread in left]}"


def _new_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t not in before and not t.name.startswith(NOT_OURS)]
