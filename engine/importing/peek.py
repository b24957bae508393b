"""The headers and first rows of a table, for a person to say what each column is."""

from pathlib import Path

from engine.analysis import columns
from engine.errors import InputError
from engine.i18n import tr

LONGEST_CELL = 60


def peek(path: Path, n_rows: int = 6) -> tuple[list[str], list[list[str]]]:
    """Headers and the cells of at most ``n_rows`` rows as text; raises ``InputError`` as ``read_columns`` does."""
    table = columns.open_table(path)
    headers = list(table.headers)
    if len(set(headers)) != len(headers):
        twice = next(header for header in headers if headers.count(header) > 1)
        raise InputError(tr("There are {n} columns named {column!r}.", n=headers.count(twice), column=twice))
    block = next(iter(table.blocks(dict.fromkeys(headers, "text"))), None)
    if block is None:
        return headers, []
    cells = [[_shown(value) for value in column.slice(0, n_rows).to_pylist()] for column in block.columns]
    order = [block.schema.get_field_index(header) for header in headers]
    return headers, [[cells[i][row] for i in order] for row in range(min(n_rows, block.num_rows))]


def _shown(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
