"""Classifiers of images that are there already: read as they ask, trained in every way, exported, refused."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine.errors import StudyError
from engine.expand import expand
from engine.families import families
from engine.families._base_tasks import task_of
from engine.families._image_inputs import as_pixels, pixel_values
from engine.sources import sources
from engine.study import RunSpec, StudySpec, convert, parse_study
from tests.engine.small_bases import bert_folder

FAMILY = families["fine-tuned"]
TASK = task_of("image-classification")
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "vit": {**VIT, "image_size": 16, "num_channels": 1},
    "deit": {**VIT, "image_size": 16},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 16},
}


def folder_of(folder: Path, architecture: str, told: dict[str, Any] | None = None, **over: Any) -> Path:
    """A base of a few thousand parameters, without a head, and perhaps how it wants its images."""
    from transformers import CONFIG_MAPPING, AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CONFIG_MAPPING[architecture](**ARCHITECTURES[architecture] | over)
        AutoModel.from_config(config).save_pretrained(folder)
    if told is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def study(base: Path | str, data: dict[str, Any] | None = None, **model: Any) -> StudySpec:
    return parse_study(
        {
            "name": "seen", "title": "Seen", "kind": "finetune",
            "model": {"family": "fine-tuned", "task": "image-classification", "base": str(base), **model},
            "data": data or {"source": "digits", "train_images": 100},
            "ladder": {"sizes": [1000]},
            "training": {
                "steps": 12, "batch_size": 16, "learning_rate": 0.003, "lr_rule": "fixed", "warmup_fraction": 0.1,
                "decay_fraction": 0.9, "eval_every_fraction": 0.5, "keep_best": True,
            },
            "capabilities": [{"name": "classification"}],
            "execution": {"threads": 1, "device": "cpu", "precision": "float32", "executor": "thread"},
        }
    )  # fmt: skip


def the_run(base: Path, data: dict[str, Any] | None = None, **model: Any) -> RunSpec:
    return expand(study(base, data, **model))[0]


@pytest.mark.parametrize("method", ["full", "frozen", "lora", "scratch"])
@pytest.mark.parametrize("architecture", ["vit", "resnet", "convnext"])
def test_every_method_is_counted_trains_and_exports(tmp_path: Path, architecture: str, method: str) -> None:
    from transformers import AutoModelForImageClassification

    spec = the_run(folder_of(tmp_path / "base", architecture), method=method)
    model = FAMILY.build(spec.shape, 0)
    assert spec.n_params == sum(p.numel() for p in model.parameters())
    trained = [p for p in model.parameters() if p.requires_grad]
    assert FAMILY.facts(spec.shape, 1) == {"n_trainable": sum(p.numel() for p in trained)}
    assert (len(trained) < len(list(model.parameters()))) == (method in ("frozen", "lora"))
    batch = FAMILY.example(spec.shape, 6, 1)
    before = FAMILY.loss(model.eval(), batch).loss
    optimizer = torch.optim.SGD(trained, 0.1)
    model.train()
    for _ in range(4):
        optimizer.zero_grad()
        FAMILY.loss(model, batch).loss.backward()
        optimizer.step()
    if method != "scratch":  # of which batch normalisation needs longer to know the mean
        assert FAMILY.loss(model.eval(), batch).loss < before
    FAMILY.export_hf(model.eval(), spec.shape, tmp_path / "out", None)
    theirs = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        given = pixel_values(batch["inputs"], spec.shape)
        assert torch.allclose(model(batch["inputs"]), theirs(pixel_values=given).logits, atol=1e-5)


def test_an_exported_folder_reads_an_image_file_alike_in_a_fresh_process(tmp_path: Path) -> None:
    told = {"do_resize": True, "size": {"height": 16, "width": 16}, "do_normalize": True, **IMAGENET}
    spec = the_run(folder_of(tmp_path / "base", "deit", told), {"source": "shapes", "side": 16})
    model = FAMILY.build(spec.shape, 0).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    with torch.no_grad():
        ours = model(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1)
    FAMILY.export_hf(model, spec.shape, tmp_path / "out", None)
    torch.save(ours, tmp_path / "ours.pt")
    code = f"""
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification as Auto
read = AutoImageProcessor.from_pretrained({str(tmp_path / "out")!r})
model = Auto.from_pretrained({str(tmp_path / "out")!r})
ours = torch.load({str(tmp_path / "ours.pt")!r}, weights_only=True)
given = read(Image.open({str(tmp_path / "one.png")!r}), return_tensors="pt")
assert torch.allclose(model(**given).logits, ours, atol=1e-5)
assert model.config.id2label[0] == "circle", model.config.id2label
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "told",
    [
        {"do_rescale": True, "rescale_factor": 1 / 127.5, "rescale_offset": True, "do_normalize": False},
        {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, **IMAGENET},
        {"do_rescale": False, "do_normalize": True, "image_mean": [120.0] * 3, "image_std": [60.0] * 3},
    ],
)
def test_images_are_normalised_as_the_folder_says(tmp_path: Path, told: dict[str, Any]) -> None:
    spec = the_run(folder_of(tmp_path, "convnext", {**told, "size": {"shortest_edge": 16}}))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16)).astype(np.float64)
    scaled = pixels * told.get("rescale_factor", 1.0) if told["do_rescale"] else pixels
    wanted = scaled - 1 if told.get("rescale_offset") else scaled
    if told["do_normalize"]:
        mean, std = (np.asarray(told[name])[:, None, None] for name in ("image_mean", "image_std"))
        wanted = (scaled - mean) / std
    found = pixel_values(torch.tensor(pixels / 127.5 - 1, dtype=torch.float32)[None], spec.shape)
    assert torch.allclose(found[0], torch.tensor(wanted, dtype=torch.float32), atol=1e-4)


def test_size_and_channels_become_those_of_the_base(tmp_path: Path) -> None:
    grey = the_run(folder_of(tmp_path / "grey", "vit"), {"source": "shapes", "side": 32})
    colour = the_run(folder_of(tmp_path / "colour", "deit"))
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    given = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    ours = (as_pixels(given, grey.shape)[0, 0] + 1) * 127.5
    theirs = np.asarray(Image.fromarray(picture).convert("L").resize((16, 16), Image.Resampling.BILINEAR))
    assert np.abs(ours.numpy() - theirs).max() < 2.5
    assert as_pixels(torch.rand(2, 1, 8, 8), colour.shape).shape == (2, 3, 16, 16)


def test_the_base_decides_how_files_are_read_and_a_part_is_held_out_for_results(tmp_path: Path) -> None:
    told = {"do_center_crop": True, "crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 28}}
    base = folder_of(tmp_path / "base", "resnet", told)
    for name in ("left", "right"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(20):
            (tmp_path / "images" / name / f"{number}.png").write_bytes(b"")
    spec = the_run(base, {"source": "image-folder", "path": str(tmp_path / "images")}, class_weights="balanced")
    assert {k: spec.data[k] for k in ("size", "colors", "fit")} == {"size": 24, "colors": "color", "fit": "crop"}
    assert spec.data["test_fraction"] == 0.2
    assert json.loads(str(spec.shape["labels"])) == ["left", "right"]
    assert json.loads(str(spec.shape["class_weights"])) == [1.0, 1.0]


@pytest.mark.parametrize("source", ["digits", "shapes"])
def test_test_images_are_apart_and_what_was_held_out_stays_so(source: str) -> None:
    kind = sources[source]

    def images(split: Any, **fields: Any) -> set[bytes]:
        data: Any = kind.prepare(convert(fields, kind.Spec, "data"), Path(), lambda name, fraction: None)
        return {image.tobytes() for image in data.held_out(split, 2_000)["inputs"]}

    test, validation, train = (images(split, test_fraction=0.2) for split in ("test", "validation", "train"))
    assert test and validation and not (test & validation or test & train or validation & train)
    assert not images("test")
    if source == "digits":  # what a base was pretrained on with the same share held out
        assert test <= images("validation")


def test_batch_normalisation_keeps_what_the_base_knows(tmp_path: Path) -> None:
    base = folder_of(tmp_path, "resnet")
    for method, kept in (("full", True), ("scratch", False)):
        model = FAMILY.build(the_run(base, method=method).shape, 0).train()
        before = {name: value.clone() for name, value in model.state_dict().items() if "running_mean" in name}
        model(torch.rand(4, 1, 8, 8))
        after = model.state_dict()
        assert before and all(torch.equal(after[name], value) for name, value in before.items()) == kept


def test_the_first_batch_is_shown_as_the_model_reads_it(tmp_path: Path) -> None:
    spec = the_run(folder_of(tmp_path, "deit"))
    kind = sources["digits"]
    prepared = kind.prepare(convert(dict(spec.data), kind.Spec, "data"), tmp_path, lambda name, fraction: None)
    found = TASK.seen(prepared, spec.shape, 16, 0)
    assert found[0]["image"].shape == (16, 16, 3) and found[0]["label"] in "0123456789"


def test_what_cannot_be_a_base_or_data_is_said(tmp_path: Path) -> None:
    text = bert_folder(tmp_path / "text")
    with pytest.raises(StudyError, match="bert reads no images"):
        the_run(text)
    base = folder_of(tmp_path / "base", "vit")
    with pytest.raises(StudyError, match="how many of each class"):
        the_run(base, class_weights="balanced")
    with pytest.raises(StudyError, match="cannot be learnt from these data"):
        the_run(base, {"source": "labelled-table", "rows": 512, "tokenizer": str(text)})
    (base / "preprocessor_config.json").write_text("{")
    with pytest.raises(StudyError, match=r"preprocessor_config\.json cannot be read"):
        the_run(base)
    with pytest.raises(StudyError, match=r"model\.lora_targets"):
        the_run(folder_of(tmp_path / "other", "vit"), method="lora", lora_targets="nothing_like_it")


@pytest.mark.parametrize("how", ["truncated", "deeper"])
def test_a_renamed_architecture_whose_weights_do_not_fit_is_refused(tmp_path: Path, how: str) -> None:
    base = folder_of(tmp_path, "vit")
    if how == "truncated":
        weights = base / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-7])
    else:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.raises(StudyError, match="cut short" if how == "truncated" else "do not fit its config"):
        the_run(base)
