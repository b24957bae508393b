"""A training batch cut into micro-batches whose gradients add up to that of the whole."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from engine.families.base import Family, Shape
from engine.sources.base import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray


def micro_batches(family: Family, shape: Shape, batch: Batch, rows: int) -> Iterator[tuple[float, Batch]]:
    """Parts of at most ``rows`` rows, each with its share of what the batch's mean loss is a mean over.

    A part that has no share is left out: its own mean would be one of nothing.
    """
    size = len(next(iter(batch.values())))
    if rows >= size:
        yield 1.0, batch
        return
    parts = [_rows(batch, start, start + rows) for start in range(0, size, rows)]
    counts = [family.counted(shape, part) for part in parts]
    total = sum(counts)
    for part, count in zip(parts, counts, strict=True):
        if count or not total:  # of a batch that counts nothing the loss is no number, in parts as in whole
            yield count / (total or 1), part


def _rows(batch: "Mapping[str, NDArray[Any]]", first: int, last: int) -> "dict[str, NDArray[Any]]":
    return {name: array[first:last] for name, array in batch.items()}
