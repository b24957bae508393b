"""Labelled snippets: classes, balance, and that nothing crosses from training to test."""

import random
from pathlib import Path

import numpy as np
import pytest

from engine.sources import python_text, sources
from engine.sources._labelled import MIN_FILES, PER_DOCUMENT, SEPARATOR, Labelled
from engine.sources._prepared import LABELS_FILE, PreparedText
from engine.sources.python_text import package

LENGTH = 64
PACKAGES = {"apple": 80, "banana": 80, "cherry": 70, "rare": 2}


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedText:
    """Four packages whose files name their package on every line; one has too few files to be asked about."""
    root = tmp_path / "lib"
    for name, n_files in PACKAGES.items():
        for number in range(n_files):
            generator = random.Random(f"{name}{number}")
            words = ["".join(generator.choices("defghijklmn", k=6)) for _ in range(150)]
            path = root / name / f"module{number}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(f"{name} {number} {word}" for word in words))
    monkeypatch.setattr(python_text, "roots", lambda: {"packages": root})
    source = sources["python-text"]
    spec = source.Spec(max_bytes=2_000_000, validation_fraction=0.3)
    prepared = source.prepare(spec, tmp_path / "cache", lambda name, fraction: None)
    assert isinstance(prepared, PreparedText) and isinstance(prepared, Labelled)
    return prepared


def test_every_snippet_is_of_its_class_and_no_file_is_in_both_splits(text: PreparedText) -> None:
    found = text.labelled(LENGTH, 8, 120, 90)
    assert found is not None and set(found.classes) == {"apple", "banana", "cherry"}
    named: list[set[tuple[str, str]]] = []
    for snippets, each in ((found.train, 40), (found.test, 30)):
        assert np.bincount(snippets.labels).tolist() == [each] * 3
        files = set()
        for tokens, label in zip(snippets.tokens, snippets.labels, strict=True):
            whole = text.decode(tokens).split("\n")[1]
            assert whole.startswith(found.classes[label])
            files.add((found.classes[label], whole.split(" ")[1]))
        named.append(files)
        assert len(np.unique(snippets.files)) == len(files)
    assert named[0] & named[1] == set()


def test_the_draw_is_the_same_every_time_and_no_window_comes_twice(text: PreparedText) -> None:
    one, other = (text.labelled(LENGTH, 2, 10_000, 10_000) for _ in range(2))
    assert one is not None and other is not None
    assert len(one.classes) == 2 and np.array_equal(one.train.tokens, other.train.tokens)
    assert len(np.unique(one.test.tokens, axis=0)) == len(one.test.tokens)
    assert np.unique(one.test.files, return_counts=True)[1].max() <= PER_DOCUMENT


def test_short_documents_are_padded_and_limits_are_kept(text: PreparedText) -> None:
    long = text.labelled(3_000, 8, 100, 100)
    assert long is not None
    ends = (long.test.tokens != SEPARATOR).sum(axis=1)
    assert ends.max() < 3_000
    assert all((row[end:] == SEPARATOR).all() for row, end in zip(long.test.tokens, ends, strict=True))
    assert text.limited(20_000).labelled(LENGTH, 8, 100, 100) is None  # a dozen files: too few of each


def test_without_labels_there_are_none(text: PreparedText) -> None:
    (text.folder / LABELS_FILE).write_bytes(b"")
    assert text.labelled(LENGTH, 8, 100, 100) is None
    (text.folder / LABELS_FILE).unlink()
    assert PreparedText.open(text.folder) is None, "what an older version left is made anew"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("stdlib/json/decoder.py", "python"),
        ("packages/numpy/linalg/__init__.py", "numpy"),
        ("packages/six.py", "six"),
        ("platform-packages/torch/nn/init.py", "torch"),
    ],
)
def test_the_label_of_a_file_is_its_package(name: str, label: str) -> None:
    assert package(name) == label and MIN_FILES > 1
