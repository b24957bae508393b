"""Choosing attention and setting the allocator."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engine.training import kernels

CPU = torch.device("cpu")
SHAPE = {"batch": 1, "n_heads": 2, "context": 16, "head_dim": 8}


def test_float32_on_cpu_is_a_rule_and_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> float:
        raise AssertionError

    monkeypatch.setattr(kernels, "_attention_seconds", measured)
    choices = [
        kernels.choose_attention(CPU, torch.float32, **{**SHAPE, "context": context}, cache=tmp_path)
        for context in (64, 65, 4096)
    ]
    assert choices == ["written", "sdpa", "sdpa"]
    assert not list(tmp_path.iterdir())


def test_the_faster_is_chosen_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def seconds(name: str, *_: object) -> float:
        asked.append(name)
        return {"written": 2.0, "sdpa": 1.0}[name]

    monkeypatch.setattr(kernels, "_attention_seconds", seconds)
    for _ in range(2):
        assert kernels.choose_attention(CPU, torch.bfloat16, **SHAPE, cache=tmp_path) == "sdpa"
    assert asked == ["written", "sdpa"]
    assert kernels.choose_attention(CPU, torch.bfloat16, **{**SHAPE, "batch": 2}, cache=tmp_path) == "sdpa"
    assert len(asked) == 4
    assert len(json.loads((tmp_path / "kernels.json").read_text())["choices"]) == 2


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 0}', '{"version": 1, "choices": 3}'])
def test_a_broken_memory_is_done_without(tmp_path: Path, content: str) -> None:
    (tmp_path / "kernels.json").write_text(content)
    assert kernels.choose_attention(CPU, torch.bfloat16, **SHAPE, cache=tmp_path) in kernels.IMPLEMENTATIONS


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert kernels.choose_attention(CPU, torch.bfloat16, **SHAPE, cache=tmp_path / "file") in kernels.IMPLEMENTATIONS


def test_very_long_contexts_never_hold_the_scores(tmp_path: Path) -> None:
    assert kernels.choose_attention(CPU, torch.bfloat16, **{**SHAPE, "context": 4096}, cache=tmp_path) == "sdpa"


def test_allocator_settings_leave_a_working_process() -> None:
    """In a process of its own: the settings cannot be taken back."""
    script = (
        "import torch; from engine.training.kernels import configure_allocator as c\n"
        "assert c() in (True, False); a = torch.ones(1 << 22); assert float((a + a).sum()) == 2 << 22"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
