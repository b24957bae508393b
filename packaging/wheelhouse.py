"""Collects every wheel that a machine without a network needs, into ``packaging/wheelhouse``.

    python3 packaging/wheelhouse.py [--extra test]

Run it on a machine with a network, the same system and the same Python; carry the whole folder over, and
``main.py`` there installs from it. Standard library and pip only; pip's own settings choose the build of torch.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bootstrap import ROOT, requirements

WHEELHOUSE = ROOT / "packaging" / "wheelhouse"


def build_requirements() -> list[str]:
    """What building the project itself asks for, so that an offline ``pip install -e .`` finds it."""
    import tomllib

    return list(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"])


def command(extra: str = "") -> list[str]:
    """The pip call that fills the wheelhouse."""
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--wheel-dir", str(WHEELHOUSE)]
    return [*pip, *build_requirements(), "wheel", *requirements(extra)]


def main(arguments: list[str]) -> int:
    """Fill the folder; returns pip's exit code."""
    parser = argparse.ArgumentParser(description="Collect the wheels for a machine without a network.")
    parser.add_argument("--extra", default="", help="also those of an extra, for example test")
    options = parser.parse_args(arguments)
    WHEELHOUSE.mkdir(parents=True, exist_ok=True)
    code = subprocess.run(command(options.extra), check=False).returncode
    if code == 0:
        wheels = list(WHEELHOUSE.glob("*.whl"))
        size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
        print(f"{len(wheels)} wheels, {size:,.0f} MB in {WHEELHOUSE}", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
