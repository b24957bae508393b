"""A student: its twin where the teacher has no weight, resumed bit for bit, and no teacher of other things."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.adapting.distillation.losses import hidden_loss, taught_loss
from engine.adapting.distillation.run import run_one
from engine.adapting.distillation.session import INTO
from engine.errors import TrainingError
from engine.events import Evaluation, RunState
from engine.expand import expand
from engine.families import families
from engine.families.base import build_for
from engine.study import RunSpec, parse_study
from engine.task import Outcome, Parent, Task
from engine.training import checkpoint as ck
from engine.training.run import run_one as train
from tests.engine.training import toy

STEPS = 6
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], list[int]]] = {
    "cnn": ({"family": "cnn"}, {"source": "digits"}, [400, 2_000]),
    "vit": ({"family": "vit"}, {"source": "digits"}, [3_000, 8_000]),
    "gpt": ({"family": "gpt"}, {"source": "copying"}, [2_000, 5_000]),
    "bert": ({"family": "bert"}, {"source": "copying"}, [2_000, 5_000]),
}


def runs_of(kind: str, **distillation: object) -> tuple[RunSpec, RunSpec, RunSpec]:
    """Small alone, large alone, small taught."""
    model, data, sizes = KINDS[kind]
    table = {
        "name": "t",
        "title": "T",
        "model": model,
        "data": data,
        "ladder": {"sizes": sizes},
        "training": {"steps": STEPS, "batch_size": 8, "context": 64, "eval_tokens": 256, "final_eval_tokens": 256},
        "distillation": distillation,
    }
    small, large, taught = expand(parse_study(table))
    return small, large, taught


def run(spec: RunSpec, folder: Path, parent: Parent | None = None, *controls: Any) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    task, do = Task(1, spec, folder, folder.parent.parent / "cache", parent=parent), run_one if parent else train
    for control in controls or (toy.Commands(),):
        outcome = do(task, toy.Recorder(), control)
    return outcome


def teacher(spec: RunSpec, folder: Path) -> Parent:
    assert run(spec, folder / "run").state is RunState.FINISHED
    return Parent(spec, folder / "run")


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_teacher_without_weight_leaves_its_twin_bit_for_bit(tmp_path: Path, kind: str) -> None:
    small, large, taught = runs_of(kind, weight=0.0)
    parent = teacher(large, tmp_path / "teacher")
    run(small, tmp_path / "alone" / "run")
    run(taught, tmp_path / "taught" / "run", parent)
    assert toy.same_weights(tmp_path / "alone", tmp_path / "taught")
    told = msgspec.structs.replace(taught, distillation=runs_of(kind, weight=0.5)[2].distillation)
    run(told, tmp_path / "told" / "run", parent)
    assert not toy.same_weights(tmp_path / "alone", tmp_path / "told")


@pytest.mark.parametrize(("kind", "hidden"), [("cnn", 0.0), ("cnn", 0.5), ("bert", 0.5)])
def test_stopped_and_resumed_is_as_never_stopped(tmp_path: Path, kind: str, hidden: float) -> None:
    _, large, taught = runs_of(kind, weight=0.5, hidden_weight=hidden)
    parent = teacher(large, tmp_path / "teacher")
    run(taught, tmp_path / "whole" / "run", parent)
    outcome = run(taught, tmp_path / "stopped" / "run", parent, toy.StopAfter(4), toy.Commands())
    assert outcome.state is RunState.FINISHED
    assert toy.same_weights(tmp_path / "whole", tmp_path / "stopped")
    assert INTO not in load_file(tmp_path / "whole" / "run" / ck.WEIGHTS)


def test_the_map_learns_and_the_hidden_part_moves_the_student(tmp_path: Path) -> None:
    _, large, plain = runs_of("vit", weight=0.5)
    _, _, hidden = runs_of("vit", weight=0.5, hidden_weight=1.0)
    parent = teacher(large, tmp_path / "teacher")
    run(plain, tmp_path / "plain" / "run", parent)
    run(hidden, tmp_path / "hidden" / "run", parent)
    assert not toy.same_weights(tmp_path / "plain", tmp_path / "hidden")
    kept = ck.load_checkpoint(tmp_path / "hidden" / "run" / ck.LAST)
    widths = [families["vit"].width(spec.shape) for spec in (large, hidden)]
    assert list(kept.tensors["model"][INTO].shape) == widths


def test_the_best_of_a_taught_run_is_a_plain_model(tmp_path: Path) -> None:
    _, large, taught = runs_of("cnn", weight=0.5, hidden_weight=0.5)
    keeping = msgspec.structs.replace(taught.training, keep_best=True, eval_every=2)
    spec = msgspec.structs.replace(taught, training=keeping)
    run(spec, tmp_path / "a" / "run", teacher(large, tmp_path / "teacher"))
    ck.load_weights(build_for(families["cnn"], spec), tmp_path / "a" / "run" / ck.BEST)


def test_the_losses_are_those_of_the_formula() -> None:
    student, told = np.array([[1.0, 0.0, -1.0], [0.5, 0.5, 0.0]]), np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])

    def softmax(z: np.ndarray) -> np.ndarray:
        e = np.exp(z)
        return np.asarray(e / e.sum(-1, keepdims=True))

    p, q = softmax(told / 2), softmax(student / 2)
    each = 4 * (p * np.log(p / q)).sum(-1)
    both, first = torch.tensor([0, 2]), torch.tensor([1, -100])
    tensors = torch.from_numpy(student), torch.from_numpy(told)
    assert float(taught_loss(*tensors, both, 2.0)) == pytest.approx(each.mean())
    assert float(taught_loss(*tensors, first, 2.0)) == pytest.approx(each[0])
    assert float(taught_loss(tensors[1], tensors[1], both, 3.0)) == pytest.approx(0.0, abs=1e-12)
    assert float(hidden_loss(tensors[0], tensors[1], torch.zeros(3, 3, dtype=torch.float64))) == pytest.approx(1.0)
    assert float(hidden_loss(tensors[1], tensors[1], torch.eye(3, dtype=torch.float64))) == pytest.approx(0.0)


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_asked_and_answered_is_the_loss_of_the_family(kind: str) -> None:
    spec = runs_of(kind)[0]
    family = families[spec.family]
    model = build_for(family, spec)
    batch = family.example(spec.shape, 4, spec.training.context)
    torch.manual_seed(0)
    loss = family.loss(model, batch).loss
    torch.manual_seed(0)
    asked = family.ask(model, batch)
    answers = family.answer(model, asked)
    assert answers.shape == (len(asked.targets), family.n_choices(spec.shape))
    assert torch.equal(family.choice_loss(model, asked, answers), loss)


def test_what_is_told_is_the_students_own_loss(tmp_path: Path) -> None:
    small, large, taught = runs_of("cnn", weight=1.0, temperature=4.0)
    parent, told = teacher(large, tmp_path / "teacher"), {}
    for name, spec, by in (("alone", small, None), ("taught", taught, parent)):
        recorder = toy.Recorder()
        folder = tmp_path / name / "run"
        folder.mkdir(parents=True)
        do = run_one if by else train
        do(Task(1, spec, folder, tmp_path / "cache", parent=by), recorder, toy.Commands())
        blocks = [event for event in recorder.events if getattr(event, "key", "") == "train/loss"]
        told[name] = float(np.concatenate([block.values for block in blocks])[0])
        assert [e for e in recorder.events if isinstance(e, Evaluation) and e.capability == "validation"]
    assert told["alone"] == pytest.approx(told["taught"], abs=1e-6)  # before its first step it is its twin


@pytest.mark.parametrize("fault", ["no parent", "no file", "damaged", "other source", "other classes", "short"])
def test_a_teacher_that_cannot_teach_is_refused_in_a_sentence(tmp_path: Path, fault: str) -> None:
    _, large, taught = runs_of("cnn")
    parent: Parent | None = teacher(large, tmp_path / "teacher")
    assert parent is not None
    weights = parent.folder / ck.WEIGHTS
    says = "The weights .* cannot be read"
    if fault == "no parent":
        parent, says = None, "is not here"
    elif fault == "no file":
        weights.unlink()
    elif fault == "damaged":
        weights.write_bytes(b"no weights")
    elif fault == "other source":
        parent, says = Parent(msgspec.structs.replace(large, source="shapes"), parent.folder), "on other data"
    elif fault == "other classes":
        shape = {**large.shape, "n_outputs": 7}
        parent, says = Parent(msgspec.structs.replace(large, shape=shape), parent.folder), "on other data"
    else:
        tensors = load_file(weights)
        save_file({name: tensor[:-1] for name, tensor in tensors.items()}, weights)
    folder = tmp_path / "taught" / "run"
    folder.mkdir(parents=True)
    with pytest.raises(TrainingError, match=says):
        run_one(Task(1, taught, folder, tmp_path / "cache", parent=parent), toy.Recorder(), toy.Commands())


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    table = {
        "name": "t",
        "title": "T",
        "model": {"family": "gpt"},
        "data": {"source": "text-folder", "path": str(tmp_path / "text"), "tokenizer": "bpe", "vocab_size": 300},
        "ladder": {"sizes": [2_000, 5_000]},
        "training": {"steps": 2, "context": 32, "eval_tokens": 256, "final_eval_tokens": 256},
        "distillation": {},
    }
    (tmp_path / "text").mkdir()
    for number in range(40):
        text = f"document {number}: the quick brown fox number {number * 7} jumps over lazy dogs. " * 20
        (tmp_path / "text" / f"{number}.txt").write_text(text)
    _, large, taught = expand(parse_study(table))
    parent = teacher(large, tmp_path / "teacher")
    assert run(taught, tmp_path / "fine" / "run", parent).state is RunState.FINISHED
    known = next(path for path in parent.folder.iterdir() if path.name == "tokenizer.json")
    known.write_text(known.read_text().replace("fox", "box"))
    with pytest.raises(TrainingError, match="another vocabulary"):
        run(taught, tmp_path / "other" / "run", parent)
