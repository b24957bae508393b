"""Figures to files: SVG, PDF, PNG at 300 dpi and the plotted data as CSV, each saying inside where it comes from."""

import contextlib
import csv
import datetime
import io
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from engine.errors import InputError, ResourceError
from engine.figures.model import Figure
from engine.figures.style import Style, load_style
from engine.i18n import tr

DPI = 300


def export(figure: Figure, path: Path, style: str = "paper") -> Path:
    """Write the figure in the format of the suffix (.svg, .pdf, .png, .csv) and return the path.

    The file appears whole or not at all. ``SOURCE_DATE_EPOCH``, where it is set, stands for the time of making,
    so that equal figures give equal bytes.

    Raises:
        InputError: an unknown suffix or style.
        ResourceError: the file cannot be written.
    """
    formats = {
        ".svg": _svg,
        ".pdf": _pdf,
        ".png": _png,
        ".csv": _csv,
    }
    write = formats.get(path.suffix.lower())
    if write is None:
        raise InputError(
            tr("{path} has no known format (there are: {known}).", path=str(path), known=", ".join(formats))
        )
    content = write(figure, load_style(style))
    try:
        _replace(path, content)
    except OSError as error:
        raise ResourceError(
            tr("{path} cannot be written: {reason}.", path=str(path), reason=error.strerror or str(error))
        ) from None
    return path


def to_csv(figure: Figure) -> str:
    """What is plotted, one row per point; lines beginning with # say what it is."""
    text = io.StringIO(newline="")
    head = {"title": figure.title, "caption": figure.caption, "x": figure.x.label, "y": figure.y.label}
    for key, value in {**head, **_provenance(figure)}.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        text.write(f"# {key}: {' '.join(shown.splitlines())}\n")
    columns, rows = figure.table()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_field(value) for value in row] for row in rows)
    return text.getvalue()


def _field(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or math.isnan(value) else repr(value)


def created() -> datetime.datetime:
    """When a file is made: now, or ``SOURCE_DATE_EPOCH``."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC) if epoch else now


def _provenance(figure: Figure) -> dict[str, Any]:
    return {**figure.provenance, "figure": figure.id, "created": created().isoformat()}


def _described(figure: Figure) -> str:
    return json.dumps(_provenance(figure), ensure_ascii=False, sort_keys=True)


def _csv(figure: Figure, _style: Style) -> bytes:
    return to_csv(figure).encode()


def _svg(figure: Figure, style: Style) -> bytes:
    metadata = {
        "Title": figure.title,
        "Date": created().isoformat(),
        "Creator": str(figure.provenance.get("program", "Emergence Lab")),
        "Description": f"{figure.caption}\n{_described(figure)}",
        "Identifier": str(figure.provenance.get("study_id", figure.id)),
    }
    return _drawn(figure, style, "svg", metadata)


def _pdf(figure: Figure, style: Style) -> bytes:
    program = str(figure.provenance.get("program", "Emergence Lab"))
    metadata = {
        "Title": figure.title,
        "Creator": program,
        "Producer": program,
        "Subject": figure.caption,
        "Keywords": _described(figure),
        "CreationDate": created(),
    }
    return _drawn(figure, style, "pdf", metadata)


def _png(figure: Figure, style: Style) -> bytes:
    metadata = {
        "Title": figure.title,
        "Software": str(figure.provenance.get("program", "Emergence Lab")),
        "Description": figure.caption,
        "Creation Time": created().isoformat(),
        "Provenance": _described(figure),
    }
    return _drawn(figure, style, "png", metadata)


def _drawn(figure: Figure, style: Style, kind: str, metadata: dict[str, Any]) -> bytes:
    from engine.figures.draw import draw, drawing_rules

    content = io.BytesIO()
    with drawing_rules(style):
        drawn = draw(figure, style)
        drawn.savefig(content, format=kind, dpi=DPI, metadata=metadata)
    return content.getvalue()


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes it private; a figure is an ordinary file.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
