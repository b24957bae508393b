"""Training on little text over and over: the limit changes what is trained on and nothing else."""

from pathlib import Path

import numpy as np

from engine.sources import sources
from engine.sources._prepared import PreparedText


def prepared(folder: Path, cache: Path, unique_tokens: int | None = None) -> PreparedText:
    source = sources["text-folder"]
    made = source.prepare(
        source.Spec(path=str(folder), unique_tokens=unique_tokens), cache, lambda step, fraction: None
    )
    assert isinstance(made, PreparedText)
    return made


def test_a_limit_repeats_the_first_tokens(tmp_path: Path) -> None:
    words = np.random.default_rng(0).integers(0, 10**6, (30, 200))
    (tmp_path / "text").mkdir()
    for number, row in enumerate(words):
        (tmp_path / "text" / f"{number}.txt").write_text(" ".join(map(str, row)))
    whole = prepared(tmp_path / "text", tmp_path / "cache")
    few = prepared(tmp_path / "text", tmp_path / "cache", 2_000)
    same = prepared(tmp_path / "text", tmp_path / "cache", 10**9)
    assert len(list((tmp_path / "cache").glob("text-*/meta.json"))) == 1, "prepared once for every limit"
    assert len(few.train) == 2_000 and (few.train == whole.train[:2_000]).all()
    assert (few.validation == whole.validation).all()
    assert same.fingerprint == whole.fingerprint != few.fingerprint
    assert few.epochs(300, 2, 32) > 9 > 1 > whole.epochs(300, 2, 32) > 0
    seen = {window.tobytes() for step in range(300) for window in few.train_batch(step, 2, 32, 0)["inputs"]}
    text = few.train.tobytes()
    assert all(np.frombuffer(window, np.int64).astype(np.uint8).tobytes() in text for window in seen)
