"""What compression costs the fine-tuned MiniLM classifier: the study ``finetune-bert``, fully fine-tuned, compressed.

    python tests/benchmarks/bench_compression.py [--home DIR] [--seeds 0,1,2] [--json FILE] [--report]

The lab trains the classifier and makes of it 8-bit models with and without integer activations, 4-bit weights and one
with half of its weights pruned while it is fine-tuned once more, and measures all as its runs do. Prints what each way
did to accuracy and F1, paired by seed with Student's 95% interval, and to file, memory and time. Exits 1 where 8 bits
cost more than a point of either on average or do not make the file three times smaller. On a busy machine the three
fine-tunings took 20 minutes of CPU and each model of fewer bits more than one, most of it timing; pruning fine-tunes
once more. A home that was begun goes on, and ``--report`` prints what it holds and runs nothing.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.study import StudySpec

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

METHODS = ("int8-dynamic", "int8-weights", "int4-weights", "prune-unstructured")
POINT, TIMES_SMALLER = 0.01, 3.0


def study(seeds: list[int]) -> "StudySpec":
    """The full fine-tuning and what is made of it."""
    from engine.study import load_study

    methods = ", ".join(f'{{method = "{name}"}}' for name in METHODS)
    return load_study(
        "finetune-bert", ["model.method=full", f"ladder.seeds={seeds}", f"compression.methods=[{methods}]"]
    )


def run(home: Path, asked: "StudySpec") -> None:
    """Everything that is not finished yet."""
    from engine.lab import Lab

    with Lab.open(home) as lab:
        identity = lab.runner.submit(asked)
        lab.runner.wait(identity, lambda event: None)
        failed = [row for row in lab.reader().runs(identity) if row.state != "finished"]
        if failed:
            raise SystemExit(f"{len(failed)} runs did not finish: {failed[0].error}")


def verdicts(home: Path, identity: str) -> dict[str, dict[str, Any]]:
    """Metric -> the verdict on it, of the runs that are finished."""
    from engine.analysis.compression import judge, measured
    from engine.store import Store

    with Store.open(home, read_only=True) as store:
        reader = store.reader()
        return {
            metric: judge(measured(reader, identity, "classification", metric), "classification", metric)
            for metric in ("accuracy", "f1")
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", action="store_true")
    asked = parser.parse_args()
    from engine.study import study_id

    with tempfile.TemporaryDirectory() as made:
        home, spec = asked.home or Path(made), study([int(seed) for seed in asked.seeds.split(",")])
        if not asked.report:
            run(home, spec)
        found = verdicts(home, study_id(spec))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    good = True
    for metric, verdict in found.items():
        for row in verdict["ways"]:
            ends = "" if row["interval"] is None else "[{:+.4f}, {:+.4f}]".format(*row["interval"])
            print(
                f"{metric:9} {row['way']:24} {row['score']:.4f} {row['change']:+.4f} {ends:20} "
                f"{row['bytes'] / 1e6:7.2f} MB {row['smaller']:5.2f}x smaller {row['memory'] / 1e6:7.2f} MB in memory "
                f"{row['latency']:8.2f} ms {row['faster']:.2f}x as fast, of 32 {row['faster_batch']:.2f}x"
            )
            if row["way"].startswith("int8"):
                good &= row["change"] > -POINT and row["smaller"] > TIMES_SMALLER
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
