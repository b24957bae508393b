"""What compression costs the fine-tuned MiniLM classifier: the study ``finetune-bert``, fully fine-tuned, compressed.

    python tests/benchmarks/bench_compression.py [--home DIR] [--seeds 0,1,2] [--json FILE]

The lab trains the classifier and makes of it 8-bit models with and without integer activations, 4-bit weights and one
with half of its weights pruned while it is fine-tuned once more, and measures all as its runs do. Prints what each way
did to accuracy and F1, paired by seed with Student's 95% interval, and to file, memory and time. Exits 1 where 8 bits
cost more than a point of either or do not make the file three times smaller. A quarter of an hour on two quiet cores;
a home that was begun goes on.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

METHODS = ("int8-dynamic", "int8-weights", "int4-weights", "prune-unstructured")
POINT, TIMES_SMALLER = 0.01, 3.0


def run(home: Path, seeds: list[int]) -> dict[str, dict[str, Any]]:
    """Metric -> the verdict on it, once all runs are finished."""
    from engine.analysis.compression import judge, measured
    from engine.lab import Lab
    from engine.study import load_study

    methods = ", ".join(f'{{method = "{name}"}}' for name in METHODS)
    over = ["model.method=full", f"ladder.seeds={seeds}", f"compression.methods=[{methods}]"]
    study = load_study("finetune-bert", over)
    with Lab.open(home) as lab:
        identity = lab.runner.submit(study)
        lab.runner.wait(identity, lambda event: None)
        lab.store.writer.flush()
        failed = [row for row in lab.reader().runs(identity) if row.state != "finished"]
        if failed:
            raise SystemExit(f"{len(failed)} runs did not finish: {failed[0].error}")
        return {
            metric: judge(measured(lab.reader(), identity, "classification", metric), "classification", metric)
            for metric in ("accuracy", "f1")
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        found = run(asked.home or Path(made), [int(seed) for seed in asked.seeds.split(",")])
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
