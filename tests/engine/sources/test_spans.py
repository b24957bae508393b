"""Questions with a span of real text as their answer: found where they are, clear, apart from training to test."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.sources import sources
from engine.sources._prepared import PreparedText
from engine.sources._spans import AsksForSpans, SpanItems

NAMES = [f"{a}_{b}" for a in ("size", "width", "axis", "depth") for b in ("in", "out", "mid", "top")]


def prepared(tmp_path: Path, tokenizer: str, records: bool = True) -> PreparedText:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(60):
        generator = random.Random(number)
        lines = []
        for _ in range(60):
            some = generator.sample(NAMES, 3)
            given = ", ".join(f"{name}={generator.randrange(1000)}" if records else name for name in some)
            lines.append(f"    call{generator.randrange(100)}({given})")
        (folder / f"{number}.py").write_text("\n".join(lines) + "\n")
    source = sources["text-folder"]
    options: dict[str, Any] = {"vocab_size": 300} if tokenizer == "bpe" else {}
    spec = source.Spec(path=str(folder), tokenizer=tokenizer, validation_fraction=0.3, **options)
    found = source.prepare(spec, tmp_path / "cache", lambda name, fraction: None)
    assert isinstance(found, PreparedText) and isinstance(found, AsksForSpans)
    return found


def pieces(text: PreparedText, items: SpanItems, row: int) -> tuple[str, str, str]:
    """Question, context and answer of an item."""
    ids, begin = items.tokens[row], items.begins[row]
    answer = ids[items.starts[row] : items.ends[row] + 1]
    return text.decode(ids[: begin - 1]), text.decode(ids[begin:]), text.decode(answer)


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_the_answer_is_the_value_of_the_name(tmp_path: Path, tokenizer: str) -> None:
    text = prepared(tmp_path, tokenizer)
    found = text.spans(64, 200, 80)
    assert found is not None
    for items, n in zip(found, (200, 80), strict=True):
        assert items.tokens.shape == (n, 64) and items.n_values.min() >= 2
        assert (items.begins <= items.starts).all() and (items.starts <= items.ends).all() and items.ends.max() < 64
        for row in range(n):
            name, context, answer = pieces(text, items, row)
            assert f"{name.strip()}={answer}" in context
            assert context.count(f"{name.strip()}=") == 1
    for one, again in zip(found, text.spans(64, 200, 80) or (), strict=True):
        assert np.array_equal(one.tokens, again.tokens)


def test_no_item_is_in_both_splits_or_comes_twice(tmp_path: Path) -> None:
    found = prepared(tmp_path, "bytes").spans(64, 10_000, 10_000)
    assert found is not None
    rows = np.concatenate([items.tokens for items in found])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_text_without_fields_has_none(tmp_path: Path) -> None:
    assert prepared(tmp_path, "bytes", records=False).spans(64, 200, 80) is None
