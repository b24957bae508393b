"""Loads the scripts of ``packaging/``, which is no package: its name is that of a library."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    """A fresh module object of ``packaging/<name>.py``."""
    folder = str(ROOT / "packaging")
    spec = importlib.util.spec_from_file_location(f"packaging_script_{name}", ROOT / "packaging" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module
