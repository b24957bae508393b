"""The window's promises, measured: time until it is shown, and how late a 5 ms timer is while a model trains.

    python tests/benchmarks/bench_window.py [--seconds 12] [--json FILE] [--only NAME ...] [--screen]

Each case is a process of its own with the real program on a temporary home, the Monitor page in view, and a small GPT
training on the real runner: on the thread executor and on the process executor, with an empty store and with one of
1,000 runs. Without ``--screen`` Qt draws offscreen. Prints a table; exits 1 where a promise is not kept.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))
SHOWN_SECONDS = 1.0
LATE_MS = 25.0
TICK_MS = 5
WARM_UP_SECONDS = 3.0
MANY_RUNS = 1000
CASES = {
    "idle, empty store": ("", 0),
    "idle, 1,000 runs": ("", MANY_RUNS),
    "thread, empty store": ("thread", 0),
    "process, empty store": ("process", 0),
    "thread, 1,000 runs": ("thread", MANY_RUNS),
    "process, 1,000 runs": ("process", MANY_RUNS),
}
STUDY: dict[str, Any] = {
    "name": "bench-window",
    "title": "Bench",
    "model": {"family": "gpt"},
    "data": {"source": "python-text", "max_bytes": 1_000_000},
    "ladder": {"sizes": [30_000], "seeds": [0]},
    "training": {"steps": 100_000, "context": 64, "batch_size": 16, "eval_every_fraction": 0.001},
}


def fill(home: Path, n_runs: int) -> None:
    """A store as a month of work leaves it: studies of 20 runs with 500 points of four metrics each."""
    from engine.events import Evaluation, MetricBlock, RunState, StateChanged
    from engine.expand import expand
    from engine.store import Store, mutations
    from engine.study import parse_study

    steps = np.arange(0, 5000, 10)
    noise = np.random.default_rng(0).normal(3, 0.1, len(steps))
    sizes = [2_000, 5_000, 11_000, 24_000, 52_000, 110_000, 240_000, 500_000, 1_000_000, 2_000_000]
    with Store.open(home) as store:
        for number in range(n_runs // 20):
            ladder = {"sizes": sizes, "seeds": [0, 1]}
            study = parse_study(STUDY | {"name": f"study-{number}", "title": f"Study {number}", "ladder": ladder})
            runs = expand(study)
            for run in store.writer.call(lambda c, s=study, r=runs: mutations.add_study(c, s, r)).result():
                for key in ("train/loss", "val/loss", "lr", "grad_norm"):
                    store.writer.emit(MetricBlock(run, key, steps, noise))
                store.writer.emit(Evaluation(run, "language-modelling", "loss", 3.0))
                for state in (RunState.RUNNING, RunState.FINISHED):
                    store.writer.emit(StateChanged(run, state, time.time()))


def case(executor: str, n_runs: int, seconds: float) -> dict[str, float]:
    """One measurement in this process: seconds until shown, then lateness in ms and steps per second."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        if n_runs:
            subprocess.run([sys.executable, __file__, "--fill", folder, "--runs", str(n_runs)], check=True)
        return _measure(home, executor, seconds)


def _measure(home: Path, executor: str, seconds: float) -> dict[str, float]:
    sys.setswitchinterval(0.0005)  # as main.py does
    began = time.perf_counter()
    from PySide6.QtWidgets import QApplication

    app = QApplication(["bench"])
    from engine.lab import Lab
    from lab_app.app import Program

    program = Program(app, Lab.open(home, jobs=1, executor=executor or "auto"))
    program.context.settings.put("seen", True)
    program.open()
    app.processEvents()
    found = {"shown": time.perf_counter() - began, "torch": float("torch" in sys.modules)}
    try:
        found |= _lateness(app, program, executor, seconds)
    finally:
        program.context.jobs.close()
        program.lab.close()
        program.recorder.close()
    return found


def _lateness(app: Any, program: Any, executor: str, seconds: float) -> dict[str, float]:
    """Train in the background, let the program settle, then time every tick of a 5 ms timer."""
    from PySide6.QtCore import QElapsedTimer, Qt, QTimer

    found: dict[str, float] = {}
    if executor:
        found |= _train(app, program)
    else:
        program.window.show_page("monitor")
        _run_for(app, WARM_UP_SECONDS)
    first_step = _step(program)
    late: list[float] = []
    clock = QElapsedTimer()

    def tick() -> None:
        late.append(clock.nsecsElapsed() / 1e6 - TICK_MS)
        clock.restart()

    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(tick)
    clock.start()
    timer.start(TICK_MS)
    _run_for(app, seconds)
    timer.stop()
    values = np.maximum(np.array(late[1:]), 0.0)
    found |= {name: float(np.percentile(values, q)) for name, q in (("p50", 50), ("p99", 99), ("max", 100))}
    found["steps_per_second"] = (_step(program) - first_step) / seconds
    found["load"] = os.getloadavg()[0]
    return found


def _train(app: Any, program: Any) -> dict[str, float]:
    """Start the study as its button does and wait until it is well under way."""
    from engine.study import parse_study

    refused: list[Any] = []
    program.context.operations.refused.connect(refused.append)
    program.window.start_study(parse_study(STUDY))
    deadline = time.perf_counter() + 240
    while _step(program) < 50:
        _run_for(app, 0.2)
        if refused or time.perf_counter() > deadline:
            raise SystemExit(f"training did not begin: {refused}")
    _run_for(app, WARM_UP_SECONDS)
    assert program.window.page_name == "monitor"
    return {}


def _step(program: Any) -> int:
    running = [program.catalog.live(run.id).progress for run in program.catalog.active()]
    return max((progress.step for progress in running if progress is not None), default=0)


def _run_for(app: Any, seconds: float) -> None:
    from PySide6.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(seconds * 1000), loop.quit)
    loop.exec()


def main() -> int:
    """Measure every case in a process of its own and print the table; 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="how long ticks are timed")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), help="cases to measure")
    parser.add_argument("--screen", action="store_true", help="draw on the screen instead of offscreen")
    for internal in ("--case", "--fill"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=MANY_RUNS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(Path(options.fill), options.runs)
        return 0
    if options.case:
        executor, runs = CASES[options.case]
        print(json.dumps(case(executor, min(runs, options.runs), options.seconds)))
        return 0
    results = {name: _in_a_process(name, options) for name in options.only}
    kept = _print(results)
    if options.json:
        about = {"machine": platform.platform(), "cores": os.cpu_count(), "cases": results, "kept": kept}
        options.json.write_text(json.dumps(about, indent=2), encoding="utf-8")
    return 0 if kept else 1


def _in_a_process(name: str, options: argparse.Namespace) -> dict[str, float]:
    environ = os.environ | {"OMP_NUM_THREADS": "1", "EMERGENCE_LAB_LANGUAGE": "en"}
    if not options.screen:
        environ["QT_QPA_PLATFORM"] = "offscreen"
    command = [sys.executable, __file__, "--case", name, "--seconds", str(options.seconds), "--runs", str(options.runs)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: code {done.returncode}: {done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _print(results: dict[str, dict[str, float]]) -> bool:
    head = ("shown s", "p50 ms", "p99 ms", "max ms", "steps/s", "load")
    keys = ("shown", "p50", "p99", "max", "steps_per_second", "load")
    print(f"{'case':<24}" + "".join(f"{title:>10}" for title in head))
    kept = True
    for name, found in results.items():
        print(f"{name:<24}" + "".join(f"{found[key]:>10.2f}" for key in keys))
        kept &= found["shown"] <= SHOWN_SECONDS and found["p99"] <= LATE_MS and not found["torch"]
    promise = f"shown within {SHOWN_SECONDS:g} s without torch, p99 at most {LATE_MS:g} ms"
    print(f"promised: {promise}: {'yes' if kept else 'NO'}")
    return kept


if __name__ == "__main__":
    sys.exit(main())
