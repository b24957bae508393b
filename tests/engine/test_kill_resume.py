"""SIGKILL at random moments, then the same command: the study ends as if nothing had happened, weights and curves."""

import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
name = "killed"
title = "To be killed"
model = {{ family = "gpt" }}
data = {{ source = "text-folder", path = "{text}" }}
[ladder]
sizes = [2000, 5000]
seeds = [0, 1]
[training]
steps = 400
batch_size = 4
eval_tokens = 1024
final_eval_tokens = 1024
checkpoint_seconds = 0.2
[execution]
device = "cpu"
jobs = 2
"""

ON_MODELS = """
name = "killed"
title = "To be killed"
model = {{ family = "cnn" }}
data = {{ source = "digits" }}
{what}
[ladder]
sizes = [400, 2000]
[training]
steps = 500
batch_size = 16
eval_tokens = 64
final_eval_tokens = 64
checkpoint_seconds = 0.05
[execution]
device = "cpu"
"""
PRUNED = 'compression = { methods = [{ method = "prune-structured" }], sizes = [2000] }'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="SIGKILL and process groups are POSIX's"),
]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(30):
        generator = random.Random(number)
        words = ("".join(generator.choices("abcdefghij", k=generator.randint(3, 9))) for _ in range(300))
        (folder / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
    file = tmp_path / "killed.toml"
    file.write_text(STUDY.format(text=folder), encoding="utf-8")
    return file


def start(study: Path, home: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "main.py", "run", str(study), "--home", str(home), "--json"]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(study: Path, home: Path) -> dict[str, object]:
    with start(study, home) as process:
        printed, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    document: dict[str, object] = json.loads(printed)
    return document


def workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def kill(whom: str, process: "subprocess.Popen[str]", generator: random.Random) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    if whom == "group":
        os.killpg(process.pid, signal.SIGKILL)
    elif whom == "parent":
        process.kill()
    else:
        generator.choice(workers(process)).kill()
        process.communicate(timeout=200)
        assert process.returncode == 1, "the other runs go on, and the verb says that one did not finish"
    process.communicate(timeout=60)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a worker that outlives its parent would write beside the next one"


def steps(home: Path) -> int:
    """Of all runs together, as stored so far."""
    if not (home / "lab.db").exists():
        return 0
    connection = sqlite3.connect(f"file:{home / 'lab.db'}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT coalesce(sum(step), 0) FROM run").fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def reach(home: Path, wanted: int) -> None:
    deadline = time.monotonic() + 120
    while steps(home) < wanted:
        assert time.monotonic() < deadline, "it never trained"
        time.sleep(0.01)


def weights(home: Path) -> dict[str, str]:
    names = ("weights.safetensors", "compressed.safetensors")
    files = sorted(file for name in names for file in (home / "artifacts").glob(f"*/{name}"))
    return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def curves(home: Path) -> list[tuple[int, str, int, float]]:
    """Every point of every metric but the speed, which is the machine's."""
    connection = sqlite3.connect(f"file:{home / 'lab.db'}?mode=ro", uri=True)
    try:
        return connection.execute(
            "SELECT run_id, name, step, value FROM metric JOIN metric_key ON key_id = id"
            " WHERE name <> 'tokens_per_second' ORDER BY run_id, name, step"
        ).fetchall()
    finally:
        connection.close()


def test_killed_three_times_it_ends_the_same(study: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(study, whole)
    generator = random.Random(7)
    seen = 0
    for whom in ("group", "worker", "parent"):
        with start(study, killed) as process:
            reach(killed, seen + generator.randint(100, 300))
            kill(whom, process, generator)
        seen = min(steps(killed), 1100)
    document = finish(study, killed)
    assert document["state"] == "finished"
    assert len(weights(whole)) == 4
    assert weights(killed) == weights(whole)
    points = curves(whole)
    losses = [step for run_id, name, step, _ in points if (run_id, name) == (1, "train/loss")]
    assert losses == list(range(1, 401)), "no hole and no duplicate"
    assert curves(killed) == points


def test_killed_in_what_builds_on_a_model_it_ends_the_same(tmp_path: Path) -> None:
    study, whole, killed = tmp_path / "killed.toml", tmp_path / "whole", tmp_path / "killed"
    study.write_text(ON_MODELS.format(what=PRUNED), encoding="utf-8")
    finish(study, whole)
    with start(study, killed) as process:
        reach(killed, 1150)  # both sizes alone are 1000 steps
        kill("group", process, random.Random(0))
    assert 1000 < steps(killed) < 1500
    assert finish(study, killed)["state"] == "finished"
    assert len(weights(whole)) == 3
    assert weights(killed) == weights(whole)
