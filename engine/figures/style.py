"""How a figure looks: one TOML file per style in ``resources/styles``; lengths in mm and points."""

import tomllib
from pathlib import Path

import msgspec

from engine.errors import InputError
from engine.i18n import tr

FOLDER = Path(__file__).resolve().parent.parent.parent / "resources" / "styles"
FONTS = FOLDER.parent / "fonts"


class Style(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of text, lines and markers are in points; colours are ``#rrggbb``."""

    width_mm: float
    height_mm: float
    title: bool
    font_size: float
    tick_size: float
    legend_size: float
    title_size: float
    line_width: float
    thin_line: float
    axis_width: float
    marker_size: float
    background: str
    foreground: str
    grid: str
    band_alpha: float
    ordered: tuple[float, float]
    instead: dict[str, str] = {}
    """Colours that cannot be seen on this background, and what is drawn instead."""


def styles() -> list[str]:
    """Names of the styles there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_style(name: str) -> Style:
    """A style by name; raises ``InputError`` with the known names."""
    if name not in styles():
        raise InputError(tr("there is no style {name!r} (there are: {known}).", name=name, known=", ".join(styles())))
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return msgspec.convert(table, Style)
