"""Makes ``.venv`` beside ``main.py`` where nothing is installed, in visible steps. Standard library only.

    python3 packaging/bootstrap.py install [--extra test]   make or refresh the environment
    python3 packaging/bootstrap.py test [PYTEST ARGUMENTS]  the same with the test tools, then run the tests

An interpreter that already has everything is used as it is. ``packaging/wheelhouse``, where there is one
(see ``wheelhouse.py``), is installed from without a network. pip's own settings and variables hold.
"""

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
STAMP = "emergence-lab.stamp"
OLDEST, NEWEST = (3, 11), (3, 13)
MINIMUM_FREE_BYTES = 3 * 2**30
"""The CPU build of torch and the rest took 1.7 GB; the unpacking needs about as much again for a moment."""


class SetupError(Exception):
    """The environment cannot be made; one sentence and what to do about it."""


def say(text: str) -> None:
    """A visible step, on standard error so that ``--json`` stays clean."""
    print(text, file=sys.stderr, flush=True)


def requirements(extra: str = "") -> "list[str]":
    """What ``pyproject.toml`` asks for, with those of an extra."""
    import tomllib  # not there before 3.11, which is checked first

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else [])]


def _release(version: str) -> "tuple[int, ...]":
    numbers = [int(part) for part in re.match(r"[\d.]+", version).group().strip(".").split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


def satisfied(requirement: str) -> bool:
    """Whether this interpreter has a distribution in the range asked for (``name>=1,<2,!=1.5``)."""
    name, bounds = re.match(r"([\w.-]+)(.*)", requirement).groups()
    try:
        have = _release(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False
    for bound in filter(None, bounds.replace(" ", "").split(",")):
        operator, version = re.match(r"(>=|<=|!=|==|<|>)(.+)", bound).groups()
        want = _release(version)
        holds = {">=": have >= want, "<=": have <= want, "!=": have != want, "==": have == want}
        if not (holds | {"<": have < want, ">": have > want})[operator]:
            return False
    return True


def missing(extra: str = "") -> "list[str]":
    """The requirements that this interpreter does not meet."""
    return [requirement for requirement in requirements(extra) if not satisfied(requirement)]


def environment_python(environment: Path = ENVIRONMENT) -> Path:
    """The interpreter inside a virtual environment."""
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _fingerprint(extra: str) -> str:
    return hashlib.sha256("\n".join(requirements(extra)).encode()).hexdigest()


def is_ready(extra: str = "", environment: Path = ENVIRONMENT) -> bool:
    """Whether the environment was finished for the requirements as they are now."""
    stamp = environment / STAMP
    if not (stamp.is_file() and environment_python(environment).exists()):
        return False
    return _fingerprint(extra) in stamp.read_text(encoding="utf-8").split()


def other_python() -> "str | None":
    """Another interpreter on this machine whose version fits, newest first."""
    names = [f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    return next((found for found in map(shutil.which, names) if found and _runs(found)), None)


def _runs(python: str) -> bool:
    return subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0


def check_machine(free_bytes: "int | None" = None) -> None:
    """Raise ``SetupError`` where an environment cannot be made here."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        raise SetupError(
            f"Emergence Lab needs Python 3.{OLDEST[1]} to 3.{NEWEST[1]}; this is "
            f"{sys.version_info.major}.{sys.version_info.minor}. "
            f"Install one of them and start it with that, for example: python3.{NEWEST[1]} main.py"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            "Python's venv module is not installed, and it is needed to set up. "
            "On Debian and Ubuntu: sudo apt install python3-venv"
        ) from None
    if not os.access(ROOT, os.W_OK):
        raise SetupError(f"{ROOT} cannot be written to, so .venv cannot be made there. Copy the folder to your own.")
    free = shutil.disk_usage(ROOT).free if free_bytes is None else free_bytes
    if free < MINIMUM_FREE_BYTES:
        raise SetupError(
            f"Only {free / 2**30:.1f} GB are free under {ROOT}; "
            f"setting up needs {MINIMUM_FREE_BYTES / 2**30:.0f} GB. Free some space and start again."
        )


def _pip(arguments: "list[str]") -> None:
    """Run pip in the environment, its main lines on standard error; ``SetupError`` with its last words if it fails."""
    command = [str(environment_python()), "-m", "pip", "--disable-pip-version-check", *arguments]
    lines = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as process:
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.lstrip().startswith(("Collecting", "Downloading", "Installing", "Building", "Successfully")):
                say("   " + line.strip()[:110])
    if process.returncode == 0:
        return
    tail = "\n".join("   " + line for line in lines[-8:])
    if any("No space left" in line for line in lines):
        raise SetupError("The disk became full while installing. Free some space and start again.")
    raise SetupError(
        f"Installing the dependencies failed; pip said:\n{tail}\n"
        "With no network, put the files of packaging/wheelhouse.py in packaging/wheelhouse and start again."
    )


def create(extra: str = "") -> None:
    """Make or refresh ``.venv`` with the project and one extra in it."""
    check_machine()
    fresh = not (ENVIRONMENT / STAMP).is_file()
    if fresh:
        say("Emergence Lab is setting itself up in .venv; this happens once and takes a few minutes.")
        say(f"1/3 making {ENVIRONMENT}")
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise SetupError(f"The environment could not be made: {(made.stderr or made.stdout).strip()[-300:]}")
    wheelhouse = ROOT / "packaging" / "wheelhouse"
    offline = any(wheelhouse.glob("*.whl"))
    say(f"2/3 installing the dependencies ({'from packaging/wheelhouse' if offline else 'with pip'})")
    source = ["--no-index", "--find-links", str(wheelhouse)] if offline else []
    _pip(["install", *source, "-e", f"{ROOT}[{extra}]" if extra else str(ROOT)])
    old = set() if fresh else set((ENVIRONMENT / STAMP).read_text(encoding="utf-8").split())
    stamps = old | {_fingerprint(extra), _fingerprint("")}
    (ENVIRONMENT / STAMP).write_text("\n".join(sorted(stamps)), encoding="utf-8")
    say("3/3 ready")


def ready_python(extra: str = "") -> str:
    """An interpreter that has everything: this one, the one in ``.venv``, or a new one made now."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        inside = Path(sys.prefix).resolve() == ENVIRONMENT.resolve()
        if (inside and is_ready(extra)) or not missing(extra):
            return sys.executable
        if not is_ready(extra):
            create(extra)
        if inside:
            return sys.executable
        return str(environment_python())
    found = other_python()
    if found is None:
        check_machine()
    say(f"Python {sys.version_info.major}.{sys.version_info.minor} does not fit; using {found}.")
    return str(found)


def _start(command: "list[str]") -> None:
    """Become another program; on Windows, where that is not possible, wait for it and leave with its code."""
    if os.name == "nt":
        raise SystemExit(subprocess.run(command, check=False).returncode)
    os.execv(command[0], command)


def ensure_or_exit(program: "list[str]") -> None:
    """Return where this interpreter has everything; otherwise start ``program`` again in one that has."""
    try:
        python = ready_python()
    except (SetupError, OSError) as error:
        say(str(error))
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        say("Setting up was interrupted; start again to go on.")
        raise SystemExit(130) from None
    if python != sys.executable:
        _start([python, *program])


def main(arguments: "list[str]") -> int:
    """``install`` or ``test``; returns the exit code."""
    verb = arguments[0] if arguments else ""
    if verb not in {"install", "test"}:
        say(__doc__.strip())
        return 2
    extra = "test" if verb == "test" else (arguments[2] if arguments[1:2] == ["--extra"] else "")
    try:
        python = ready_python(extra)
    except (SetupError, OSError) as error:
        say(str(error))
        return 2
    if verb == "install":
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return subprocess.run([python, __file__, *arguments], check=False).returncode
    # Each worker begins with half of the files, so that what the tests of one share is made once, and whichever is done
    # first takes from the other.
    command = [python, "-m", "pytest", "-n", "2", "--dist", "worksteal", *arguments[1:]]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
