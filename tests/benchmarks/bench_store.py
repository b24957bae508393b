"""The store's promises, measured: rows per second, and opening and drawing from 1,000 runs with 10 million rows.

    python tests/benchmarks/bench_store.py [--runs 1000] [--rows 10000000]

Prints one line per promise and exits 1 where one is not kept.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.events import MetricBlock
from engine.store import Store, mutations
from engine.study import LadderSpec, ResolvedTraining, RunSpec, StudySpec, study_id

ROWS_PER_SECOND = 100_000
OFFERED = 102_000
"""Rows offered per second of training, since what the last step leaves over is not sent."""
OPEN_SECONDS = 1.0
CURVE_SECONDS = 0.2
SLOWER = 0.02


def a_study(n_runs: int) -> tuple[StudySpec, list[RunSpec]]:
    """A study with that many runs, half of them of another seed."""
    study = StudySpec(name="bench", title="Bench", model={}, data={}, ladder=LadderSpec(sizes=(1,)))
    values = dict.fromkeys(ResolvedTraining.__struct_fields__, 1)
    training = ResolvedTraining(**{**values, "optimizer": "adamw", "lr_rule": "mup", "schedule": "wsd"})
    runs = [
        RunSpec(
            study="bench",
            kind="pretrain",
            family="gpt",
            family_version=1,
            shape={"d_model": 8},
            size=1000 + index // 2,
            size_index=index // 2,
            seed=index % 2,
            n_params=2000,
            n_params_non_embedding=1000,
            compute_flops=1.0,
            memory_bytes=1,
            source="python-text",
            source_version=1,
            data={},
            training=training,
        )
        for index in range(n_runs)
    ]
    return study, runs


def fill(home: Path, n_runs: int, n_rows: int) -> tuple[str, list[int], float]:
    """Write the rows as training does, blocks of 100 steps of four metrics, the runs after one another."""
    study, specs = a_study(n_runs)
    keys = ("train/loss", "val/loss", "lr", "grad_norm")
    per_key = n_rows // n_runs // len(keys)
    noise = np.random.default_rng(0).normal(3, 0.1, per_key + 100)
    with Store.open(home) as store:
        ids = store.writer.call(lambda c: mutations.add_study(c, study, specs)).result()
        began = time.perf_counter()
        for run_id in ids:
            for start in range(0, per_key, 100):
                steps = np.arange(start, min(start + 100, per_key), dtype=np.int64)
                for key in keys:
                    store.writer.emit(MetricBlock(run_id, key, steps, noise[start : start + len(steps)]))
        store.writer.flush()
        rate = per_key * len(keys) * n_runs / (time.perf_counter() - began)
    return study_id(study), ids, rate


def read(home: Path, key: str, ids: list[int]) -> tuple[float, float]:
    """Seconds to open the store with its list of runs, and the worst of 50 curves."""
    began = time.perf_counter()
    with Store.open(home) as store:
        reader = store.reader()
        assert len(reader.studies()) == 1 and len(reader.runs(key)) == len(ids)
        opened = time.perf_counter() - began
        worst = 0.0
        for run_id in random.Random(0).sample(ids, min(50, len(ids))):
            began = time.perf_counter()
            steps, _ = reader.curve(run_id, "train/loss")
            worst = max(worst, time.perf_counter() - began)
            assert len(steps)
    return opened, worst


def slowed(rounds: int, steps: int = 60) -> tuple[float, float]:
    """(by how much steps take longer, rows/s) while each step also emits its share of 100,000 rows/s into ``metric``.

    Interleaved A B A B with blocks of 1,000 rows from the training thread; the median over pairs of the CPU time of
    the training thread: on a loaded machine wall time shows the others.
    """
    import torch

    torch.set_num_threads(1)
    model = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(4)))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    x = torch.randn(1024, 256)
    values = np.random.default_rng(0).normal(3, 0.1, 1000)

    def train(emit: Callable[[int], None]) -> tuple[float, float]:
        wall, thread = time.perf_counter(), time.thread_time()
        for step in range(steps):
            model(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            emit(step)
        return time.perf_counter() - wall, time.thread_time() - thread

    study, specs = a_study(1)
    ratios, rates = [], []
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder)) as store:
        (run_id,) = store.writer.call(lambda c: mutations.add_study(c, study, specs)).result()
        written = 0

        def emit(_step: int) -> None:
            nonlocal written
            due = min(20_000, int((time.perf_counter() - began) * OFFERED) - (written - before))
            for _ in range(due // 1000):
                numbers = np.arange(written, written + 1000, dtype=np.int64)
                store.writer.emit(MetricBlock(run_id, "train/loss", numbers, values))
                written += 1000

        train(lambda _step: None)
        for _ in range(rounds):
            plain = train(lambda _step: None)
            began, before = time.perf_counter(), written
            loaded = train(emit)
            rates.append((written - before) / loaded[0])
            store.writer.flush()
            ratios.append(loaded[1] / plain[1])
    return statistics.median(ratios) - 1, statistics.median(rates)


def main() -> int:
    """Fill, read, print; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=9, help="pairs of training with and without writing")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        key, ids, rate = fill(home, options.runs, options.rows)
        size = sum(f.stat().st_size for f in home.glob("lab.db*"))
        opened, worst = read(home, key, ids)
        # One long run: everything in a single curve, a tenth of the rows.
        (home / "long").mkdir()
        long_key, long_ids, _ = fill(home / "long", 1, options.rows // 10)
        _, long = read(home / "long", long_key, long_ids)
    slower, sustained = slowed(options.rounds)
    print(f"steps slower by           {slower:>12.1%}   promised {SLOWER:.0%}, at {sustained:,.0f} rows/s")
    print(f"rows written per second   {rate:>12,.0f}   promised {ROWS_PER_SECOND:,}")
    print(f"seconds to open and list  {opened:>12.3f}   promised {OPEN_SECONDS}")
    print(f"seconds, worst of curves  {worst:>12.3f}   promised {CURVE_SECONDS}")
    print(f"seconds, curve of {options.rows // 40:,} points {long:.3f}")
    print(f"size of the database      {size / 2**20:>9,.0f} MB")
    kept = (
        slower <= SLOWER
        and sustained >= ROWS_PER_SECOND
        and rate >= ROWS_PER_SECOND
        and opened < OPEN_SECONDS
        and worst < CURVE_SECONDS
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
