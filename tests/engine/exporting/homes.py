"""Homes with small finished runs of every family, made once for all tests that only read them."""

import random
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from engine.lab import Lab
from engine.study import StudySpec, parse_study

WORDS = "size loss model data token layer width depth grow small large train learn curve law point the of a".split()
TEXT = {"source": "text-folder", "validation_fraction": 0.3}
DIGITS = {"source": "digits"}
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "gpt": ({}, TEXT, 6000),
    "bert": ({}, TEXT, 6000),
    "rnn": ({}, TEXT, 6000),
    "seq2seq": ({}, {"source": "cldr-pairs", "names": False, "source_length": 32, "target_length": 20}, 4000),
    "cnn": (
        {"residual": True, "stem": "quarter", "downsample": "stride", "activation": "relu"},
        {"source": "shapes"},
        4000,
    ),
    "plain-cnn": ({"family": "cnn"}, DIGITS, 4000),
    "mlp": ({}, {"source": "sparse-parity"}, 4000),
    "wavenet": ({}, {"source": "spoken-vowels"}, 4000),
    "gan": ({}, DIGITS, 8000),
    "gpt-vectors": ({}, {"source": "linear-regression"}, 4000),
    "vit": ({}, DIGITS, 6000),
    "vit-masked": ({}, DIGITS, 6000),
    "clip": ({}, {"source": "scenes"}, 5209),
}
"""Family -> fields of its model, its data, and a size."""


def write_text(folder: Path, n_files: int = 30) -> Path:
    """Texts of random words, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_files):
        generator = random.Random(number)
        pieces = (f"{generator.choice(WORDS)}{generator.choice(('', str(number)))}" for _ in range(300))
        (folder / f"{number}.txt").write_text(" ".join(pieces), encoding="utf-8")
    return folder


def study(family: str, text: Path, **training: Any) -> StudySpec:
    """A study of one run of a few steps."""
    model, data, size = MODELS[family]
    path = {"path": str(text)} if data is TEXT else {}
    return parse_study(
        {
            "name": f"small-{family}",
            "title": f"A small {family}",
            "model": {"family": family} | model,
            "data": data | path,
            "ladder": {"sizes": [size]},
            "training": {"steps": 6, "eval_tokens": 512, "final_eval_tokens": 512, "context": 48} | training,
            "execution": {"executor": "thread", "precision": "float32"},
        }
    )


@cache
def shared() -> Path:
    """A folder for what all tests of a process only read."""
    return Path(mkdtemp(prefix="emergence-lab-tests-"))


@cache
def finished(*names: str) -> Path:
    """A home in which run n is of the n-th family, finished."""
    home = shared() / "-".join(names)
    text = write_text(shared() / "text")
    with Lab.open(home, executor="thread") as lab:
        for name in names:
            assert lab.runner.wait(lab.runner.submit(study(name, text)), timeout=120)
        states = [run.state for run in lab.reader().runs()]
    assert states == ["finished"] * len(names), states
    return home
