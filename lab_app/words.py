"""Numbers and states in words that a person reads, in the language in use."""

import math
from typing import TYPE_CHECKING

from engine.events import PhaseName, RunState
from engine.i18n import mark, tr

if TYPE_CHECKING:
    from engine.store.rows import RunRow, StudyRow

STATES = {
    RunState.QUEUED: mark("queued"),
    RunState.RUNNING: mark("running"),
    RunState.PAUSED: mark("paused"),
    RunState.FINISHED: mark("finished"),
    RunState.FAILED: mark("failed"),
    RunState.CANCELLED: mark("cancelled"),
    RunState.INTERRUPTED: mark("interrupted"),
}
PHASES = {
    PhaseName.PREPARING: mark("preparing data"),
    PhaseName.BUILDING: mark("building the model"),
    PhaseName.COMPILING: mark("compiling"),
    PhaseName.TRAINING: mark("training"),
    PhaseName.EVALUATING: mark("evaluating"),
    PhaseName.SAVING: mark("saving"),
}


def state(name: str) -> str:
    """A run state as a word."""
    return tr(STATES[RunState(name)])


def study_title(study: "StudyRow") -> str:
    """The title of a study; one that came from elsewhere says so."""
    return f"{study.shown_title} ({tr('imported')})" if study.imported else study.shown_title


def run_state(run: "RunRow") -> str:
    """The state of a run as a word; what was made elsewhere is imported, not finished here."""
    return tr("imported") if run.kind == "import" else state(run.state)


def count(number: float | None) -> str:
    """A count with three digits and a unit: ``21.4k``, ``3.1M``, ``124M``, ``7B``."""
    if number is None or not math.isfinite(number):
        return "–"
    for scale, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= scale * 0.9995:
            scaled = number / scale
            digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
            text = f"{scaled:.{digits}f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) + unit
    return f"{number:.0f}" if float(number).is_integer() else f"{number:.2f}"


def power(number: float | None) -> str:
    """A large quantity as a power of ten: ``3.2×10¹²``."""
    if number is None or not math.isfinite(number) or number <= 0:
        return "–"
    exponent = math.floor(math.log10(number))
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{number / 10**exponent:.1f}×10{raised}"


def size(n_bytes: float | None) -> str:
    """Bytes in binary units: ``1.2 GiB``."""
    if n_bytes is None:
        return "–"
    for scale, unit in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if n_bytes >= scale:
            return f"{n_bytes / scale:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def duration(seconds: float | None) -> str:
    """A time in the two largest units: ``2 h 5 min``, ``3 min 40 s``, ``12 s``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return tr("{s} s", s=whole)
    if whole < 3600:
        return tr("{m} min {s} s", m=whole // 60, s=whole % 60) if whole % 60 else tr("{m} min", m=whole // 60)
    minutes = whole % 3600 // 60
    if whole < 86400:
        return tr("{h} h {m} min", h=whole // 3600, m=minutes) if minutes else tr("{h} h", h=whole // 3600)
    return tr("{d} d {h} h", d=whole // 86400, h=whole % 86400 // 3600)


def value(number: float | None, digits: int = 4) -> str:
    """A measured value with ``digits`` significant digits."""
    if number is None or not math.isfinite(number):
        return "–"
    return f"{number:.{digits}g}"
