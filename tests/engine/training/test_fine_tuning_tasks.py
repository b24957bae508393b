"""Taggers and span finders from a bert of the lab: trained in a home, measured, exported, equal in a fresh process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.bases import settle
from engine.exporting import export_hf
from engine.lab import Lab
from engine.study import StudySpec, parse_study
from tests.engine.small_bases import question_study, questions, rows, tagged, tagging_study

CONTEXT = 160


def pretraining(text: Path) -> StudySpec:
    text.mkdir()
    for number in range(30):
        (text / f"{number}.txt").write_text("\n".join(t for t, _ in rows(12, number)), encoding="utf-8")
    return parse_study(
        {
            "name": "bert", "title": "A bert", "model": {"family": "bert"},
            "data": {"source": "text-folder", "path": str(text)},
            "ladder": {"sizes": [6000]},
            "training": {"steps": 5, "context": CONTEXT, "eval_tokens": 1024, "final_eval_tokens": 1024},
            "execution": {"threads": 1, "device": "cpu", "executor": "thread"},
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with Lab.open(folder / "home", jobs=1) as lab:
        assert lab.runner.wait(lab.runner.submit(pretraining(folder / "text")), timeout=120)
        lab.store.writer.flush()
        yield lab


def tuned(lab: Lab, asked: StudySpec, home: Path) -> tuple[int, dict[str, Any]]:
    """A finished run on the home's bert, and what was measured of it."""
    training = msgspec.structs.replace(asked.training, epochs=1.0)
    asked = msgspec.structs.replace(asked, training=training, data={**asked.data, "max_length": CONTEXT})
    study = lab.runner.submit(settle(asked, home))
    assert lab.runner.wait(study, timeout=120)
    lab.store.writer.flush()
    (run,) = lab.reader().runs(study)
    assert run.state == "finished", run.message
    return run.id, {e.metric: e for e in lab.reader().evaluations(study) if e.capability == asked.capabilities[0].name}


EQUAL = """
import sys, torch, transformers
from engine.finished import finished_run
from engine.store import Store
from pathlib import Path
home, run, folder, auto, more = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]
theirs = getattr(transformers, auto).from_pretrained(folder).eval()
inputs = transformers.AutoTokenizer.from_pretrained(folder)(*more, return_tensors="pt")
ours = finished_run(Store.open(home, read_only=True).reader(), home, run).load().eval()
with torch.no_grad():
    out = theirs(input_ids=inputs["input_ids"])
    given = out.logits if "logits" in out else torch.stack([out.start_logits, out.end_logits], -1)
    assert torch.allclose(ours(inputs["input_ids"]), given, atol=1e-5)
print(given.shape[-1])
"""


def exported(lab: Lab, run: int, home: Path, folder: Path, auto: str, *texts: str) -> int:
    """Outputs of the head, after a fresh process found them equal."""
    export_hf(lab.reader(), home, run, folder)
    command = [sys.executable, "-c", EQUAL, str(home), str(run), str(folder), auto, *texts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_a_tagger(lab: Lab, tmp_path: Path) -> None:
    home = lab.store.home
    run, found = tuned(lab, tagging_study("run:1", tagged(tmp_path / "t.jsonl")), home)
    assert found["accuracy"].value > 0.3 and found["entity_f1"].stderr is not None
    assert lab.reader().file(run, "predictions") is not None
    assert exported(lab, run, home, tmp_path / "out", "AutoModelForTokenClassification", "the apple and") == 7


def test_a_span_finder(lab: Lab, tmp_path: Path) -> None:
    home = lab.store.home
    run, found = tuned(lab, question_study("run:1", questions(tmp_path / "t.jsonl")), home)
    assert 0 <= found["exact_match"].value <= found["f1"].value <= 1
    assert lab.reader().file(run, "answers") is not None
    assert exported(lab, run, home, tmp_path / "out", "AutoModelForQuestionAnswering", "the pear", "the saw and") == 2
