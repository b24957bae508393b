"""What a study will take on this machine: nothing is trained, but real steps are timed for a few seconds.

The time of a run is its steps, its evaluations and its start. Steps and forward passes are timed at up to three
shapes of the study, the largest among them, in as many processes at once as will train; sizes between are
interpolated in log FLOPs.
"""

import itertools
import math
import shutil
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine.errors import ResourceError
from engine.expand import expand
from engine.families import families
from engine.i18n import tr
from engine.machine import PROCESS_BYTES, SHARE_OF_MEMORY, Machine
from engine.study import RunSpec, StudySpec

CALIBRATION_SECONDS = 1.5
"""How long the steps of one shape are timed."""
RUN_OVERHEAD_SECONDS = 1.5
"""Opening the data, building the model and writing files, per run; measured on 2 cores."""
COMPRESSION_SECONDS = 2.5
"""Writing a compressed model, reading it and timing it beside its parent; measured on 2 cores with small ones."""
START_SECONDS = 10.0
"""Starting the verb and its workers, 24 MB of python-text as bytes (1.5 s of it) and the law; measured on 2 cores."""
BPE_SECONDS = 11.0
"""Learning merges and tokenising 24 MB, once per text; measured with 4,096 tokens on one core."""
CAPABILITY_TOKENS = 32_768
"""What one capability costs beside language modelling, as tokens of a forward pass; measured with the built-in ones."""
CHECKPOINT_BYTES_PER_PARAM = 12
"""Float32 weight and two moments; twice while a new file replaces the old, and the finished weights beside it."""
DISK_RESERVE = 256 * 2**20
"""Left free for the database and the prepared data."""
MAX_SHAPES = 3


def plan(study: StudySpec, home: Path) -> dict[str, Any]:
    """The document of ``plan``: per run size, tokens, FLOPs, memory and seconds; whether it fits, and why not.

    Raises:
        StudyError: the study cannot be expanded.
        ResourceError: even one step of the smallest model cannot be timed.
    """
    runs = expand(study)
    machine = Machine.measure()
    jobs = min(len(runs), min(machine.jobs(run) for run in runs))
    reasons = _reasons(runs, machine, jobs, home)
    seconds = [None for run in runs] if reasons else _costs(runs, machine, jobs)
    return {
        "study": study.name,
        "runs": [
            {
                "size": run.size,
                "seed": run.seed,
                "variant": run.variant,
                "label": run.label,
                "n_params": run.n_params,
                "n_params_non_embedding": run.n_params_non_embedding,
                "tokens": run.training.tokens,
                "steps": run.training.n_steps,
                "compute_flops": run.compute_flops,
                "memory_bytes": run.memory_bytes,
                "seconds": cost,
            }
            for run, cost in zip(runs, seconds, strict=True)
        ],
        "jobs": jobs,
        "device": machine.device(study.execution),
        "seconds": None if reasons else _makespan([s for s in seconds if s is not None], jobs) + _start(runs),
        "compute_flops": sum(run.compute_flops for run in runs),
        "disk_bytes": disk_bytes(runs),
        "memory_bytes": _peak_memory(runs, jobs),
        "fits": not reasons,
        "reasons": reasons,
    }


def _costs(runs: Sequence[RunSpec], machine: Machine, jobs: int) -> list[float]:
    """Seconds of each run: of real steps that are timed, or of one ladder that is drawn."""
    if runs[0].kind == "simulate":
        from engine.simulating.run import seconds_per_ladder

        each = seconds_per_ladder(runs[0])
        return [each * run.training.n_steps + RUN_OVERHEAD_SECONDS for run in runs]
    rates = _calibrate(runs, machine, jobs)
    return [_seconds(run, rates) for run in runs]


def _start(runs: Sequence[RunSpec]) -> float:
    """Seconds before the first step of a study, and after the last run."""
    texts = {tuple(sorted(run.data.items())) for run in runs if run.data.get("tokenizer") == "bpe"}
    return START_SECONDS + BPE_SECONDS * len(texts)


def disk_bytes(runs: Sequence[RunSpec]) -> int:
    """Bytes that the files of all runs take, the larger of two checkpoints being there twice for a moment."""
    if runs[0].kind == "simulate":
        return 0  # nothing is trained
    kept = sum(run.n_params * (CHECKPOINT_BYTES_PER_PARAM + 4) for run in runs)
    return kept + max(run.n_params for run in runs) * CHECKPOINT_BYTES_PER_PARAM


def _peak_memory(runs: Sequence[RunSpec], jobs: int) -> int:
    largest = sorted((run.memory_bytes for run in runs), reverse=True)[:jobs]
    return sum(largest) + PROCESS_BYTES * len(largest)


def _reasons(runs: Sequence[RunSpec], machine: Machine, jobs: int, home: Path) -> list[str]:
    """Why the study does not fit, and what would; empty where it does."""
    reasons = []
    on_gpu = machine.device(runs[0].execution) != "cpu" and machine.gpu_memory
    have = (machine.gpu_memory[0] if on_gpu else machine.memory_free) * SHARE_OF_MEMORY
    beside = 0 if on_gpu else PROCESS_BYTES
    too_large = [run for run in runs if run.memory_bytes + beside > have]
    if too_large:
        fitting = [run.size for run in runs if run.memory_bytes + beside <= have]
        advice = (
            tr("Sizes up to {size:,} fit.", size=max(fitting))
            if fitting
            else tr("Lower training.micro_batch_size or training.context.")
        )
        reasons.append(
            tr(
                "{label} needs {need:.1f} GB of memory and {have:.1f} GB are free. {advice}",
                label=too_large[0].label,
                need=(too_large[0].memory_bytes + beside) / 1e9,
                have=have / 1e9,
                advice=advice,
            )
        )
    folder = next(parent for parent in (home, *home.absolute().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    need = disk_bytes(runs) + DISK_RESERVE
    if need > free:
        reasons.append(
            tr(
                "The study needs {need:.1f} GB of disk and {free:.1f} GB are free in {folder}. "
                "Free some space, or give another folder with --home.",
                need=need / 1e9,
                free=free / 1e9,
                folder=str(folder),
            )
        )
    return reasons


def _calibrate(runs: Sequence[RunSpec], machine: Machine, jobs: int) -> dict[float, tuple[float, float]]:
    """FLOPs per token -> (seconds per token of a step, of a forward pass), runs side by side."""
    timed = [run for run in runs if run.training.tokens and run.kind != "distil"]  # a teacher is no part of a shape
    by_cost = {run.compute_flops / run.training.tokens: run for run in timed}
    if not by_cost:
        return {}
    costs = sorted(by_cost)
    picked = sorted({costs[0], costs[len(costs) // 2], costs[-1]})[:MAX_SHAPES]
    specs = [machine.freeze(by_cost[cost], jobs) for cost in picked]
    if machine.device(specs[0].execution) != "cpu" or jobs == 1:
        measured = [_time_shapes(specs)]
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            measured = list(pool.map(_time_shapes, [specs] * jobs))
    return {
        cost: (statistics.fmean(m[i][0] for m in measured), statistics.fmean(m[i][1] for m in measured))
        for i, cost in enumerate(picked)
    }


def _time_shapes(specs: Sequence[RunSpec]) -> list[tuple[float, float]]:
    """Seconds per token of a training step and of a forward pass for each spec, on random data."""
    from engine.training.kernels import configure_allocator

    configure_allocator()
    return [_time_shape(spec) for spec in specs]


def _time_shape(spec: RunSpec) -> tuple[float, float]:
    import torch

    from engine.families.base import build_for
    from engine.training.device import numerics, out_of_memory, place
    from engine.training.evaluate import eval_rows, evaluating
    from engine.training.optim import Optimizer

    family, training = families[spec.family], spec.training
    placement = place(spec, family.width(spec.shape), family.lengths_vary(spec.shape))
    size = (training.micro_batch_size, training.context)
    try:
        with numerics(placement):
            model = build_for(family, spec).to(placement.device)
            configure = getattr(model, "configure", None)
            if configure is not None:
                low = placement.precision == "bfloat16"
                configure(compute_dtype=torch.bfloat16 if low else torch.float32)
            groups = family.param_groups(model, spec.shape, training.lr_rule, training.base_width)
            optimizer = Optimizer(model, groups, training)
            example = family.example(spec.shape, *size)
            batch = {name: tensor.to(placement.device) for name, tensor in example.items()}

            def step() -> None:
                torch.autograd.backward(family.loss(model, batch).loss)
                torch.nn.utils.clip_grad_norm_(optimizer.params, training.grad_clip or math.inf)
                optimizer.step()

            # Evaluations take more at once than a step does, which for small models costs far less per token.
            rows = eval_rows(family, spec.shape, training.context)
            held = {n: t.to(placement.device) for n, t in family.example(spec.shape, rows, training.context).items()}

            def forward() -> None:
                with evaluating(model):
                    family.loss(model, held)

            per_step = _time(step, CALIBRATION_SECONDS, placement.device.type)
            per_forward = _time(forward, CALIBRATION_SECONDS / 3, placement.device.type)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ResourceError(
            tr("{label} does not fit into memory.", label=spec.label),
            tr("Lower training.micro_batch_size, or leave out the largest size."),
        ) from None
    return per_step / (size[0] * size[1]), per_forward / (rows * training.context)


def _time(do: Any, seconds: float, device: str) -> float:
    """Median seconds of one call, after a warm-up."""
    import torch

    taken: list[float] = []
    for _ in range(3):
        do()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 3:
        begin = time.perf_counter()
        do()
        if device == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return statistics.fmean(sorted(taken)[: max(3, int(len(taken) * 0.95))])


def _seconds(run: RunSpec, rates: dict[float, tuple[float, float]]) -> float:
    training = run.training
    measuring = COMPRESSION_SECONDS if run.kind == "compress" else 0.0
    if not training.tokens:  # nothing is trained
        return RUN_OVERHEAD_SECONDS + measuring
    cost = run.compute_flops / training.tokens
    step, forward = (_interpolate({c: r[i] for c, r in rates.items()}, cost) for i in (0, 1))
    evaluations = math.ceil(training.n_steps / training.eval_every) * training.eval_tokens
    evaluations += training.final_eval_tokens + CAPABILITY_TOKENS * len(run.capabilities)
    return step * training.tokens + forward * evaluations + RUN_OVERHEAD_SECONDS + measuring


def _interpolate(points: dict[float, float], x: float) -> float:
    """Linear between logarithms; beyond the ends the nearest slope would mislead, so the end value stands."""
    xs = sorted(points)
    if x <= xs[0]:
        return points[xs[0]]
    for low, high in itertools.pairwise(xs):
        if x <= high:
            t = (math.log(x) - math.log(low)) / (math.log(high) - math.log(low))
            return math.exp((1 - t) * math.log(points[low]) + t * math.log(points[high]))
    return points[xs[-1]]


def _makespan(seconds: Sequence[float], jobs: int) -> float:
    """When the last of the runs ends, if each of ``jobs`` slots takes the next one in turn."""
    slots = [0.0] * max(1, jobs)
    for cost in seconds:
        slots[slots.index(min(slots))] += cost
    return max(slots)
