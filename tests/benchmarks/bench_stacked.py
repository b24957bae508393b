"""Seeds trained as one stacked model against one after another, side by side on this machine.

    python tests/benchmarks/bench_stacked.py [--seeds 8] [--sizes 5000 24000 52000] [--rounds 9] [--json FILE]

A step is forward, backward, clipping and the optimizer, one thread, on random bytes (batch 16, context 64). Rounds are
interleaved after a warm-up; the ratio is taken by round and its median reported. ``apart`` is what training the seeds
one after another costs in eager float32, which is what they run in. Losses after the warm-up must agree to 1e-4 where
the precision is the same.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from engine.families import families
from engine.families.base import DataShape, TrainingHints
from engine.training.kernels import configure_allocator
from engine.training.stacked import clip_members

BATCH, CONTEXT = 16, 64
WARM_UP = 4
CONTENDERS = {
    "stacked": (torch.float32, False),
    "stacked, compiled": (torch.float32, True),
    "stacked, bfloat16": (torch.bfloat16, False),
    "stacked, bfloat16, compiled": (torch.bfloat16, True),
}
Step = Callable[[], torch.Tensor]


def optimizer(params: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1, fused=True)


def apart(models: list[Any], tokens: torch.Tensor) -> Step:
    family = families["gpt"]
    optimizers = [optimizer(model.parameters()) for model in models]

    def step() -> torch.Tensor:
        losses = []
        for model, one, data in zip(models, optimizers, tokens, strict=True):
            loss = family.loss(model, {"inputs": data, "targets": data.roll(-1, 1)}).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
            one.step()
            one.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        return torch.stack(losses)

    return step


def together(models: list[Any], tokens: torch.Tensor, dtype: torch.dtype, compiled: bool) -> Step:
    for model in models:
        model.configure(compute_dtype=dtype, attention="written")  # as a run has it at this context
    stack: Any = families["gpt"].stack(models)
    params = list(stack.parameters())
    one = optimizer(params)
    batch = {"inputs": tokens, "targets": tokens.roll(-1, 2)}
    losses = torch.compile(stack.losses, dynamic=False) if compiled else stack.losses

    def step() -> torch.Tensor:
        loss = losses(batch)
        loss.sum().backward()
        clip_members(params, 1.0)
        one.step()
        one.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def measure(size: int, n_seeds: int, rounds: int) -> dict[str, Any]:
    family = families["gpt"]
    shape = family.resolve(family.Spec(), size, DataShape("tokens", 256), CONTEXT)
    tokens = torch.randint(0, 256, (n_seeds, BATCH, CONTEXT), generator=torch.Generator().manual_seed(0))

    def models() -> list[Any]:
        return [family.build(shape, seed, training=TrainingHints("mup", 32)) for seed in range(n_seeds)]

    torch.compiler.reset()
    base = apart(models(), tokens)
    steps = {name: together(models(), tokens, *how) for name, how in CONTENDERS.items()}
    for _ in range(WARM_UP):
        reference = base()
        reached = {name: step() for name, step in steps.items()}
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    milliseconds = []
    for _ in range(rounds):
        whole = seconds(base)
        milliseconds.append(1e3 * whole)
        for name, step in steps.items():
            ratios[name].append(whole / seconds(step))
    off = {name: float((loss - reference).abs().max()) for name, loss in reached.items()}
    return {
        "size": size,
        "n_params": family.counts(shape, CONTEXT).n_params,
        "seeds": n_seeds,
        "apart_ms": statistics.median(milliseconds),
        "times_as_fast": {name: statistics.median(of) for name, of in ratios.items()},
        "loss_difference": off,
    }


def seconds(step: Step, n: int = 4) -> float:
    began = time.process_time()
    for _ in range(n):
        step()
    return (time.process_time() - began) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 24_000, 52_000])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    configure_allocator()
    found = [measure(size, options.seeds, options.rounds) for size in options.sizes]
    for row in found:
        print(f"{row['n_params']:,} parameters, {row['seeds']} seeds: apart {row['apart_ms']:.1f} ms a step")
        for name, times in row["times_as_fast"].items():
            print(f"  {name:28} {times:5.2f} times as fast, losses differ by {row['loss_difference'][name]:.1e}")
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, one thread, CPU time")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
