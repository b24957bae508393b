"""How often a locked forecast holds what came: ladders on real text, forecast from the small sizes, then trained on.

    python tests/benchmarks/bench_forecast.py [--repetitions 20] [--tokens 900000] [--home DIR] [--json FILE]

Each repetition is the study ``quickstart`` with other sizes and other seeds and its largest size held back: the lab
trains the small ones, locks a forecast of every metric, trains the largest and scores it, as its verbs do. Nothing is
left out and nothing is chosen by the outcome. Prints the share of intervals that held, with Wilson's 95% interval, by
metric; exits 1 where that interval of the loss excludes the stated rate. Half a minute to a minute each on 2 cores; a
home that was begun goes on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
FIRST_SEED = 1000
"""Far from every seed that a study or a test trains."""
WIDTHS = (8, 16, 24, 32, 40, 48)
LEVEL = 0.9
LOSS = ("language-modelling", "loss")


def settings(repetition: int) -> dict[str, Any]:
    """What a repetition changes: depth, MLP, which widths (all, or all but one), and two seeds never used before."""
    rng = np.random.default_rng(repetition)
    n_layers, mlp_ratio = int(rng.choice([2, 3])), float(rng.choice([1.0, 2.0, 8 / 3]))
    left_out = int(rng.choice([0, *WIDTHS[1:-2]]))
    return {
        "model.n_layers": n_layers,
        "model.mlp_ratio": mlp_ratio,
        "ladder.sizes": [round(n_layers * (4 + 3 * mlp_ratio) * d * d) for d in WIDTHS if d != left_out],
        "ladder.seeds": [FIRST_SEED + 2 * repetition, FIRST_SEED + 2 * repetition + 1],
        "forecast.hold": 1,
        "forecast.level": LEVEL,
    }


def repeat(repetition: int, tokens: int, home: Path) -> None:
    """Train, lock, train on, score."""
    changed = settings(repetition) | {"training.tokens": tokens}
    told = [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]
    done = lab("run", "quickstart", *told, "--home", str(home))
    print(f"{repetition}: {changed}: {done['state']}", file=sys.stderr, flush=True)


def lab(*verb: str) -> Any:
    """What a verb prints as JSON; its progress is let go."""
    command = [sys.executable, str(REPOSITORY / "main.py"), *verb, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(verb)}: code {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def main() -> int:
    """Run every repetition and print how often intervals held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=900_000, help="of each run")
    parser.add_argument("--home", type=Path, help="where results are kept; by default they are thrown away")
    parser.add_argument("--json", type=Path, help="write the scored forecasts to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        for repetition in range(options.repetitions):
            repeat(repetition, options.tokens, home)
        forecasts = lab("forecast", "list", "--home", str(home))
        metrics = Counter(
            (row["capability"], row["metric"]) for found in forecasts for row in (found["score"] or {})["outcomes"]
        )
        kept = True
        for capability, metric in sorted(metrics):
            at = lab("forecast", "calibration", "--home", str(home), "--capability", capability, "--metric", metric)
            row = next(row for row in at["levels"] if row["level"] == LEVEL)
            low, high = row["interval"]
            held = low <= LEVEL <= high
            print(
                f"{capability} {metric}: {row['inside']} of {row['n']} inside {LEVEL:.0%}, Wilson {low:.2f}-{high:.2f}"
                f", rms z {at['rms_z']:.2f}, mean z {at['mean_z']:+.2f}"
            )
            kept &= held or (capability, metric) != LOSS
    if options.json:
        options.json.write_text(json.dumps(forecasts, indent=1) + "\n", encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
