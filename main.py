"""Emergence Lab. ``python3 main.py`` opens the window; ``python3 main.py VERB ...`` runs the same engine headless.

On a machine where nothing is installed yet the first start makes ``.venv`` beside this file and starts again in it.
"""

import multiprocessing
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HEADLESS_FLAGS = {"-h", "--help", "--version"}


def is_headless(arguments: list[str]) -> bool:
    """True where the first argument is a verb (or asks for help); options alone belong to the window."""
    return bool(arguments) and (not arguments[0].startswith("-") or arguments[0] in HEADLESS_FLAGS)


def ensure_environment() -> None:
    """Have every dependency importable, or start again where they are; a frozen bundle carries its own."""
    if not getattr(sys, "frozen", False):
        bootstrap = runpy.run_path(str(ROOT / "packaging" / "bootstrap.py"), run_name="bootstrap")
        bootstrap["ensure_or_exit"]([str(ROOT / "main.py"), *sys.argv[1:]])


def open_window(arguments: list[str]) -> int:
    """Open the app, or say in one sentence which system library is missing. Returns the exit code."""
    from engine.i18n import set_language, system_language
    from lab_app.preflight import missing_libraries  # Qt must not load before this

    set_language(system_language())
    sentence = missing_libraries()
    if sentence:
        print(sentence, file=sys.stderr)  # noqa: T201 - no window can show it
        return 2
    from lab_app.app import main as app_main

    return app_main(arguments)


def main() -> int:
    """Start the window or a verb. Returns the exit code."""
    multiprocessing.freeze_support()
    ensure_environment()
    # The window must stay smooth while a training thread holds the interpreter: resources/guide/en/architecture.md.
    sys.setswitchinterval(0.0005)
    arguments = sys.argv[1:]
    if not is_headless(arguments):
        return open_window(arguments)
    from engine.cli import main as cli_main

    return cli_main(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
