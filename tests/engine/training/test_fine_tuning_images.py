"""A ladder pretrained on images without labels, fine-tuned size by size on a few labels; what its runs keep."""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from engine.analysis.predictions import examples, read_predictions
from engine.bases import settle
from engine.errors import StudyError
from engine.expand import expand
from engine.exporting import export_hf
from engine.families import families
from engine.families.base import training_hints
from engine.lab import Lab
from engine.study import RunSpec, StudySpec, parse_study
from tests.engine.families.test_fine_tuned_images import study
from tests.engine.sources.test_image_folder import drawn


def pretraining(family: str, data: dict[str, Any], **model: Any) -> StudySpec:
    return parse_study(
        {
            "name": "ladder", "title": "A ladder", "model": {"family": family, **model}, "data": data,
            "ladder": {"sizes": [2000, 8000]},
            "training": {"steps": 8, "batch_size": 16, "learning_rate": 0.003, "eval_tokens": 64},
            "execution": {"threads": 1, "device": "cpu", "precision": "float32", "executor": "thread"},
        }
    )  # fmt: skip


def test_a_ladder_pretrained_by_masked_patches_learns_digits(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Lab.open(home, jobs=1) as lab:
        ladder = lab.runner.submit(pretraining("vit-masked", {"source": "digits"}))
        assert lab.runner.wait(ladder, timeout=120)
        lab.store.writer.flush()
        asked = study(f"study:{ladder}")
        asked = msgspec.structs.replace(asked, training=msgspec.structs.replace(asked.training, steps=60))
        tuned = lab.runner.submit(settle(asked, home))
        assert lab.runner.wait(tuned, timeout=120)
        lab.store.writer.flush()
        reader = lab.reader()
        found = reader.runs(tuned)
        assert [row.state for row in found] == ["finished"] * 2
        measured = {e.metric: e for e in reader.evaluations(tuned) if e.run_id == found[1].id}
        assert measured["accuracy"].value > 0.2 and measured["accuracy"].n == 359
        assert {f"f1[{digit}]" for digit in range(10)} <= measured.keys()
        kept = read_predictions(reader.file(found[1].id, "predictions"))
        assert len(kept.labels) == 359 and len(kept.images) == 250
        best, worst = examples(kept, 50)
        assert all(one.image for one in (*best, *worst))
        assert Image.open(io.BytesIO(worst[0].image)).size == (8, 8)
        export_hf(reader, home, found[1].id, tmp_path / "out")
        of_lab = reader.run_spec(reader.ladder(ladder)[1].id)
        scratch = settle(study(f"study:{ladder}", method="scratch"), home)
        starts_as_the_family_draws(scratch, of_lab)
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    read = AutoImageProcessor.from_pretrained(tmp_path / "out")
    given = read(Image.open(io.BytesIO(worst[0].image)).convert("L"), return_tensors="pt")
    assert model(**given).logits.shape == (1, 10)


def starts_as_the_family_draws(scratch: StudySpec, of_lab: RunSpec) -> None:
    """From scratch is the lab's own network before it learned anything; a base without that file is transformers'."""
    family, tuned = families["vit-masked"], families["fine-tuned"]
    spec = expand(scratch)[1]
    drawn = family.build(of_lab.shape, 7, training=training_hints(of_lab))
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype(np.float32))
    model = tuned.build(spec.shape, 7).eval()
    body = model.model.vit(pixel_values=images).last_hidden_state
    with torch.no_grad():
        assert torch.allclose(body[:, 1:], drawn.states(images), atol=1e-5)
    full = expand(msgspec.structs.replace(scratch, model={**scratch.model, "method": "full"}))[1]
    assert "origin" not in full.shape
    heads = [tuned.build(one.shape, 7).state_dict()["model.classifier.weight"] for one in (spec, full)]
    assert torch.equal(*heads)
    spoilt = {**spec.shape, "origin": str(spec.shape["origin"]).replace('"n_layers":2', '"n_layers":1')}
    with pytest.raises(StudyError, match=r"untrained\.json does not fit"):
        tuned.build(spoilt, 7)
    (Path(str(full.shape["base"])) / "untrained.json").write_text("{")
    with pytest.raises(StudyError, match=r"untrained\.json cannot be read"):
        expand(scratch)


@pytest.mark.parametrize(
    ("family", "model"),
    [("vit", {}), ("cnn", {"residual": True, "stem": "quarter", "downsample": "stride", "activation": "relu"})],
)
def test_runs_of_the_lab_begin_where_they_ended(tmp_path: Path, family: str, model: dict[str, Any]) -> None:
    """A ``vit`` and a ``cnn`` that is a ResNet, on a folder of images with a folder for each class."""
    for place, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(30):
            drawn(100 * place + number).save(tmp_path / "images" / name / f"{number:02}.png")
    data = {"source": "image-folder", "path": str(tmp_path / "images")}
    home = tmp_path / "home"
    with Lab.open(home, jobs=1) as lab:
        spec = pretraining(family, {**data, "size": 16}, **model)
        one_size = msgspec.structs.replace(spec.ladder, sizes=(8000,))
        ladder = lab.runner.submit(msgspec.structs.replace(spec, ladder=one_size))
        assert lab.runner.wait(ladder, timeout=120)
        lab.store.writer.flush()
        run = lab.reader().runs(ladder)[0]
        asked = study(f"run:{run.id}", data)
        training = msgspec.structs.replace(asked.training, steps=None, epochs=2)
        tuned = lab.runner.submit(settle(msgspec.structs.replace(asked, training=training), home))
        assert lab.runner.wait(tuned, timeout=120)
        lab.store.writer.flush()
        reader = lab.reader()
        found = reader.runs(tuned)[0]
        assert found.state == "finished" and found.n_params >= run.n_params  # a ResNet's norms come on top
        spec_of = reader.run_spec(found.id)
        assert spec_of.data["size"] == 16 and spec_of.training.n_steps == 2 * -(-42 // 16)
        assert {e.n for e in reader.evaluations(tuned) if e.metric == "accuracy"} == {12}
