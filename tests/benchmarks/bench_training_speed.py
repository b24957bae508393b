"""Tokens per second of the lab's training step against other people's loops, side by side on this machine.

    python tests/benchmarks/bench_training_speed.py [--quick] [--rounds N] [--json FILE] [--only NAME ...]

Every contender lives in a process of its own (the allocator's settings belong to a process) and trains the same shape
on the same bytes with one thread. Rounds are interleaved A B C A B C after a warm-up; ratios are taken by round and
their median reported. ``loss`` is over the last steps after equal tokens: a fast step that learns less is no gain.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from contenders import MAKERS, Loop, Setting

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

SETTINGS = {"S": Setting(4, 128, 4, 128, 12, 40, 60), "M": Setting(6, 384, 6, 256, 8, 6, 6)}
BASE = "nanogpt"
OURS = "lab"
NAMES = {
    BASE: "nanoGPT's loop",
    "nanogpt-compiled": "the same, compiled",
    "trainer": "Hugging Face Trainer, GPT-2",
    "trainer-fast": "the same, compiled, bf16",
    "litgpt": "litgpt, bf16-mixed",
    "lab-float32": "lab, float32, eager",
    "lab-eager": "lab, bf16, eager",
    OURS: "lab, bf16, compiled",
}
NEEDS = {
    "trainer": ("transformers", "accelerate"),
    "trainer-fast": ("transformers", "accelerate"),
    "litgpt": ("litgpt",),
}
QUICK = (BASE, "lab-eager", OURS)


def worker(name: str, setting: Setting) -> None:
    """Answer each line ``steps`` on standard input with a line of JSON: wall and CPU seconds, losses."""
    import torch

    torch.set_num_threads(1)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not end up among the replies
    loop: Loop | None = None
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        loop = loop or MAKERS[name.split("-")[0]](name, setting)
        losses = loop(int(line))
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        replies.write(json.dumps({**seconds, "losses": losses}) + "\n")
        replies.flush()


class Contender:
    """A worker process that trains when asked."""

    def __init__(self, name: str, key: str) -> None:
        self.name = name
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", name, "--setting", key]
        self.log = Path(os.environ.get("TMPDIR", "/tmp")) / f"bench-{os.getpid()}-{name}-{key}.log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        self.rounds: list[dict[str, Any]] = []

    def train(self, steps: int) -> dict[str, Any] | None:
        """None where the process died; its last line of error is in ``why``."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    @property
    def why(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.log.unlink(missing_ok=True)


def missing(name: str) -> list[str]:
    """The packages a contender needs that are not installed."""
    return [package for package in NEEDS.get(name, ()) if importlib.util.find_spec(package) is None]


def measure(key: str, names: tuple[str, ...], rounds: int) -> list[dict[str, Any]]:
    """One row per contender: tokens per second, ratio to ``BASE`` by round, start-up, loss after equal tokens."""
    setting = SETTINGS[key]
    rows: dict[str, dict[str, Any]] = {n: {"name": n} for n in names}
    contenders: list[Contender] = []
    for name in names:
        if absent := missing(name):
            rows[name]["note"] = f"not installed: {', '.join(absent)}"
            continue
        contender = Contender(name, key)
        first = contender.train(setting.warm_up)
        if first is None:
            rows[name]["note"] = f"failed: {contender.why}"
            contender.close()
            continue
        rows[name]["start_up_seconds"] = first["wall"]
        contenders.append(contender)
    for _ in range(rounds):
        for contender in contenders:
            answer = contender.train(setting.steps)
            assert answer is not None, contender.why
            contender.rounds.append(answer)
    tokens = setting.steps * setting.batch * setting.context
    base = next(contender for contender in contenders if contender.name == BASE)
    for contender in contenders:
        ratios = {
            clock: [b[clock] / a[clock] for a, b in zip(contender.rounds, base.rounds, strict=True)]
            for clock in ("wall", "cpu")
        }
        losses = [loss for answer in contender.rounds for loss in answer["losses"]]
        rows[contender.name] |= {
            "tokens_per_second": tokens / statistics.median(r["wall"] for r in contender.rounds),
            "ratio": statistics.median(ratios["wall"]),
            "ratio_cpu": statistics.median(ratios["cpu"]),
            "spread": [min(ratios["wall"]), max(ratios["wall"])],
            "loss": statistics.fmean(losses[-max(10, len(losses) // 4) :]),
            "tokens": (setting.warm_up + setting.steps * rounds) * setting.batch * setting.context,
        }
    lab = next((contender for contender in contenders if contender.name == OURS), None)
    for contender in contenders:
        if lab is not None:
            pairs = zip(contender.rounds, lab.rounds, strict=True)
            rows[contender.name]["lab_over_it"] = statistics.median(
                theirs["wall"] / ours["wall"] for theirs, ours in pairs
            )
        contender.close()
    return list(rows.values())


def matmul_rates() -> dict[str, float]:
    """Dense matmul rate with one thread, GFLOP/s by type: what a ratio on this machine has to be read against."""
    import torch

    torch.set_num_threads(1)
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(1024, 1024).to(dtype)
        seconds = []
        for _ in range(8):
            start = time.perf_counter()
            a @ a
            seconds.append(time.perf_counter() - start)
        rates[str(dtype)] = 2 * 1024**3 / statistics.median(seconds[2:]) / 1e9
    return rates


def machine() -> dict[str, Any]:
    """Versions and the matmul rates measured in this run."""
    import torch

    found = {"python": platform.python_version(), "torch": torch.__version__, "processor": platform.machine()}
    return {**found, "capability": torch.backends.cpu.get_cpu_capability(), "gflops": matmul_rates()}


def table(key: str, rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    s = SETTINGS[key]
    lines = [
        f"\n{key}: {s.n_layers} layers x d {s.d_model} x context {s.context}, batch {s.batch}, one thread\n",
        "| loop | tokens/s | ratio | by round | CPU ratio | lab over it | loss | start-up |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        title = NAMES[row["name"]]
        if "ratio" not in row:
            lines.append(f"| {title} | {row['note']} | | | | | | |")
            continue
        low, high = row["spread"]
        lines.append(
            f"| {title} | {row['tokens_per_second']:,.0f} | {row['ratio']:.2f} | {low:.2f}-{high:.2f} "
            f"| {row['ratio_cpu']:.2f} | {row.get('lab_over_it', math.nan):.2f} | {row['loss']:.3f} "
            f"| {row['start_up_seconds']:.0f} s |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="nanoGPT and the lab only, three rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", nargs="+", choices=sorted(NAMES))
    parser.add_argument("--settings", nargs="+", choices=sorted(SETTINGS), default=sorted(SETTINGS, reverse=True))
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    parser.add_argument("--worker", choices=sorted(NAMES), help=argparse.SUPPRESS)
    parser.add_argument("--setting", choices=sorted(SETTINGS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, SETTINGS[options.setting])
        return
    names = tuple(n for n in NAMES if n == BASE or n in (options.only or (QUICK if options.quick else tuple(NAMES))))
    document: dict[str, Any] = {"machine": machine()}
    print(json.dumps(document["machine"]))
    for key in options.settings:
        document[key] = measure(key, names, options.rounds or (3 if options.quick else 5))
        print(table(key, document[key]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
