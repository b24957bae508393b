"""Figures of one classifier, from a stored run that kept its predictions."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.analysis.gains import gain, mean_of
from engine.errors import InputError
from engine.figures.builders import build
from engine.figures.export import export, to_csv
from engine.store import Reader, Store
from tests.engine.figures.example import make_study

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ["cat", "dog", "eel"]
LABELS = [0, 0, 0, 1, 1, 1, 1, 2]
TAKEN = [0, 0, 1, 1, 1, 1, 0, 2]


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Reader, str, int]:
    """A study whose first run says of eight items what they are."""
    from engine.events import ArtifactSaved

    store = Store.open(tmp_path / "home")
    key = make_study(store)
    run = store.reader().runs(key)[0].id
    probabilities = np.full((len(TAKEN), 3), 0.1)
    probabilities[np.arange(len(TAKEN)), TAKEN] = 0.8
    folder = store.run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    texts = [f"text {i}" for i in range(len(LABELS))]
    document = {"classes": CLASSES, "labels": LABELS, "probabilities": probabilities.tolist(), "texts": texts}
    (folder / "predictions.json").write_text(json.dumps({**document, "origins": texts}))
    store.writer.emit(ArtifactSaved(run, "predictions", "predictions.json", 1, 10))
    store.writer.flush()
    yield store.reader(), key, run
    store.close()


def test_counts_shares_and_words(kept: tuple[Reader, str, int]) -> None:
    reader, key, run = kept
    figure = build(reader, "confusion-matrix", key)
    assert figure.grid is not None and figure.provenance["run_ids"] == [run]
    assert figure.grid.counts.tolist() == [[2, 1, 0], [1, 3, 0], [0, 0, 1]]
    assert figure.grid.shares[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert "6 of 8" in figure.caption and "cat taken for dog (1 of 3)" in figure.caption
    rows = [line for line in to_csv(figure).splitlines() if not line.startswith("#")]
    assert rows[0] == "true,predicted,count,share"
    assert rows[2].startswith("cat,dog,1,0.333") and len(rows) == 10


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
@pytest.mark.parametrize("style", ["paper", "dark"])
def test_it_is_drawn(kept: tuple[Reader, str, int], tmp_path: Path, suffix: str, style: str) -> None:
    reader, key, _ = kept
    for name in ("confusion-matrix", "reliability"):
        assert export(build(reader, name, key), tmp_path / f"{name}.{suffix}", style).stat().st_size > 2_000


FORMATS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG", "csv": b"# title: Confusion matrix"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_verb_writes_it_without_a_display(
    kept: tuple[Reader, str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    _, key, run = kept
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / f"matrix.{suffix}"
    command = ["export", "figure", key, "--figure", "confusion-matrix", "--run", str(run), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "main.py", *command, "--home", str(tmp_path / "home")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    content = out.read_bytes()
    assert content.startswith(FORMATS[suffix]) and key.encode() in content.replace(b"\x00", b"")


def test_confidence_against_accuracy(kept: tuple[Reader, str, int]) -> None:
    reader, key, _ = kept
    points = build(reader, "reliability", key).series[1]
    assert points.x.tolist() == pytest.approx([0.8]) and points.y.tolist() == pytest.approx([0.75])


def test_a_run_that_kept_none_is_a_sentence(kept: tuple[Reader, str, int]) -> None:
    reader, key, run = kept
    other = next(row.id for row in reader.runs(key) if row.id != run)
    with pytest.raises(InputError, match="no run of this study has kept"):
        build(reader, "confusion-matrix", key, run=other)
    with pytest.raises(InputError, match="is not one of the study"):
        build(reader, "confusion-matrix", key, run=999)


def test_what_was_gained_is_paired_by_seed() -> None:
    found = gain({0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.5, 1: 0.4, 2: 0.3, 3: 0.9})
    assert found is not None and found.n == 3
    assert found.value == pytest.approx(0.4) and found.high - found.low == pytest.approx(0, abs=1e-9)
    assert gain({0: 1.0}, {1: 1.0}) is None
    one = mean_of([0.5])
    assert not one.known
    two = mean_of([0.0, 1.0])
    assert (two.low, two.high) == pytest.approx((0.5 - 12.706 * 0.5, 0.5 + 12.706 * 0.5), rel=1e-3)
