"""Models that are there already: found, counted, trained in part, refused with a sentence, and written out again."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch

from engine.errors import StudyError
from engine.expand import expand
from engine.families import families
from engine.families.base import build_for
from engine.study import RunSpec
from tests.engine.small_bases import bert_folder, rows, study, table

FAMILY = families["fine-tuned"]
LORA = {"method": "lora", "lora_targets": "query,value"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return table(tmp_path_factory.mktemp("data") / "words.csv")


def the_run(base: Path, csv: Path, **model: object) -> RunSpec:
    return expand(study(base, csv, **model))[0]


@pytest.mark.parametrize("model", [{}, {"method": "frozen"}, LORA, {"method": "scratch"}])
def test_the_counts_are_those_of_the_model_that_is_built(base: Path, csv: Path, model: dict[str, str]) -> None:
    spec = the_run(base, csv, **model)
    built = build_for(FAMILY, spec)
    embedded = sum(p.numel() for n, p in built.named_parameters() if "_embeddings" in n)
    assert spec.n_params == sum(p.numel() for p in built.parameters())
    assert spec.n_params_non_embedding == spec.n_params - embedded
    trained = sum(p.numel() for p in built.parameters() if p.requires_grad)
    assert FAMILY.facts(spec.shape, 24) == {"n_trainable": trained}
    groups = FAMILY.param_groups(built, spec.shape, "fixed", 32)
    assert sum(p.numel() for g in groups for p in g.params) == trained


def test_flops_agree_with_the_usual_rule_within_what_attention_and_the_head_add(base: Path, csv: Path) -> None:
    full, frozen = (the_run(base, csv, method=m).compute_flops for m in ("full", "frozen"))
    spec = the_run(base, csv)
    per_token = spec.compute_flops / spec.training.tokens
    layer = 4 * 16 * 16 + 2 * 16 * 32
    attention, head = 4 * 24 * 16, 2 * (16 * 16 + 16 * 3) / 24
    assert per_token == pytest.approx(3 * (2 * layer + attention + head), rel=0.01)
    assert frozen < 0.4 * full


def test_the_base_decides_size_tokenizer_and_longest_text(base: Path, csv: Path) -> None:
    asked = study(base, csv)
    run = expand(msgspec.structs.replace(asked, data={**asked.data, "max_length": 500}))[0]
    assert run.size == FAMILY.own_sizes(FAMILY.Spec(base=str(base)))[0]
    assert run.data["tokenizer"] == str(base)
    assert run.data["max_length"] == run.training.context == 32
    assert run.shape["n_outputs"] == 3 and json.loads(str(run.shape["labels"])) == ["fruit", "river", "tool"]
    assert run.training.n_steps == 4 * -(-63 // 16)


def test_the_body_is_the_base_and_the_head_is_the_seeds(base: Path, csv: Path) -> None:
    from safetensors.torch import load_file

    spec, stored = the_run(base, csv), load_file(base / "model.safetensors")
    one, same, other = (FAMILY.build(spec.shape, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[f"model.bert.{name}"], tensor) for name, tensor in stored.items())
    assert torch.equal(one["model.classifier.weight"], same["model.classifier.weight"])
    assert not torch.equal(one["model.classifier.weight"], other["model.classifier.weight"])
    fresh = FAMILY.build(the_run(base, csv, method="scratch").shape, 1).state_dict()
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(fresh[f"model.{name}"], stored[name.removeprefix("bert.")])


def test_a_probed_base_has_no_dropout_and_trains_its_head_alone(base: Path, csv: Path) -> None:
    spec = the_run(base, csv, method="frozen")
    model = FAMILY.build(spec.shape, 0).train()
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        "model.classifier.weight",
        "model.classifier.bias",
    }
    batch = FAMILY.example(spec.shape, 4, 8)
    assert torch.equal(FAMILY.loss(model, batch).loss, FAMILY.loss(model, batch).loss)


def test_balanced_weights_make_rare_classes_count_as_much(base: Path, csv: Path, tmp_path: Path) -> None:
    kept = [row for i, row in enumerate(rows(180)) if row[1] != "river" or i % 4 == 2]
    spec = the_run(base, table(tmp_path / "rare.csv", kept), class_weights="balanced")
    weights = json.loads(str(spec.shape["class_weights"]))
    assert weights[1] > 2 * weights[0] and weights[0] == pytest.approx(weights[2])
    model = FAMILY.build(spec.shape, 0)
    assert torch.equal(model.class_weights, torch.tensor(weights))


@pytest.mark.parametrize("model", [{}, LORA])
def test_an_exported_folder_gives_equal_logits_in_a_fresh_process(
    base: Path, csv: Path, tmp_path: Path, model: dict[str, str]
) -> None:
    spec = the_run(base, csv, **model)
    built = FAMILY.build(spec.shape, 0).eval()
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.01)  # LoRA begins at what the base is
        tokens = torch.arange(5, 17).reshape(2, 6)
        ours = built(tokens)
    FAMILY.export_hf(built, spec.shape, tmp_path / "out", None)
    torch.save({"tokens": tokens, "ours": ours}, tmp_path / "ours.pt")
    code = f"""
import torch
from transformers import AutoModelForSequenceClassification as Auto
found = torch.load({str(tmp_path / "ours.pt")!r}, weights_only=True)
model = Auto.from_pretrained({str(tmp_path / "out")!r})
assert model.config.id2label == {{0: "fruit", 1: "river", 2: "tool"}}
assert torch.allclose(model(found["tokens"]).logits, found["ours"], atol=1e-5)
if {model!r}:
    from peft import PeftModel
    plain = Auto.from_pretrained({str(base)!r}, num_labels=3)
    adapted = PeftModel.from_pretrained(plain, {str(tmp_path / "out" / "adapter")!r})
    assert adapted.peft_config["default"].base_model_name_or_path == {str(base)!r}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_blank_model_needs_no_base_any_more(tmp_path: Path, csv: Path) -> None:
    folder = bert_folder(tmp_path / "base")
    spec = the_run(folder, csv, **LORA)
    whole = FAMILY.build(spec.shape, 0)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    FAMILY.blank(spec.shape).load_state_dict(whole.state_dict())
    with pytest.raises(StudyError, match="is there no more"):
        FAMILY.build(spec.shape, 0)


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])


def no_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x93NUMPY and so on")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def bare(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def another_tokenizer(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    document["model"]["vocab"]["elsewhere"] = 40_000
    (folder / "tokenizer.json").write_text(json.dumps(document))


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def changed_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def own_code(folder: Path) -> None:
    changed_config(folder, auto_map={"AutoModel": "evil.Model"})


def unknown_architecture(folder: Path) -> None:
    changed_config(folder, model_type="nonesuch")


def other_width(folder: Path) -> None:
    changed_config(folder, hidden_size=32)


def more_layers(folder: Path) -> None:
    changed_config(folder, num_hidden_layers=2)


def damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut_short, "cut short"),
        (no_header, "no safetensors file"),
        (pickled, "a pickle"),
        (bare, "no model.safetensors"),
        (no_tokenizer, "has no tokenizer"),
        (another_tokenizer, "ids up to 40,000"),
        (no_config, "no config.json"),
        (damaged_config, "not valid JSON"),
        (own_code, "code of its own"),
        (unknown_architecture, "does not know the architecture nonesuch"),
        (other_width, "do not fit its config.json"),
        (more_layers, "do not fit its config.json"),
    ],
)
def test_a_bad_base_is_one_sentence(tmp_path: Path, csv: Path, spoil: Callable[[Path], None], words: str) -> None:
    folder = bert_folder(tmp_path / "base")
    spoil(folder)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(StudyError, match=words) as caught:
        expand(study(folder, csv))
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize(
    ("base", "words"),
    [("", "missing"), ("/nowhere/at/all", "no folder"), ("package:nonesuch", "pip install nonesuch")],
)
def test_a_base_that_is_not_there_says_how_to_get_one(csv: Path, base: str, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        expand(study(base, csv))


def test_a_base_that_changed_after_the_run_was_made_is_refused(tmp_path: Path, csv: Path) -> None:
    folder = bert_folder(tmp_path / "base")
    spec = the_run(folder, csv)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(StudyError, match="have changed"):
        FAMILY.build(spec.shape, 0)


def test_an_unknown_task_and_lora_targets_that_are_nowhere_are_named(base: Path, csv: Path) -> None:
    with pytest.raises(StudyError, match=r"model\.task: unknown task 'poetry'"):
        the_run(base, csv, task="poetry")
    with pytest.raises(StudyError, match=r"model\.lora_targets"):
        the_run(base, csv, method="lora", lora_targets="nothing_like_it")


def test_kind_and_family_go_together(base: Path, csv: Path) -> None:
    with pytest.raises(StudyError, match="kind: the family fine-tuned"):
        expand(msgspec.structs.replace(study(base, csv), kind="pretrain"))


TINY = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40}
ARCHITECTURES = {
    "roberta": {"hidden_size": 16, **TINY},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 40},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "bos_token_id": 3, "eos_token_id": 3},
    "llama": {"hidden_size": 16, "num_key_value_heads": 1, **TINY},
    "qwen2": {"hidden_size": 16, "num_key_value_heads": 1, **TINY},
}


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_other_architectures_are_counted_trained_and_exported(
    base: Path, csv: Path, tmp_path: Path, architecture: str, method: str
) -> None:
    from transformers import CONFIG_MAPPING, AutoModel, AutoModelForSequenceClassification

    folder = tmp_path / architecture
    settings = {"vocab_size": 40, **ARCHITECTURES[architecture]}
    AutoModel.from_config(CONFIG_MAPPING[architecture](**settings)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    spec = the_run(folder, csv, method=method)
    model = FAMILY.build(spec.shape, 0)
    assert spec.n_params == sum(p.numel() for p in model.parameters())
    batch = {"inputs": torch.tensor([[2, 5, 6, 3, 0], [2, 9, 10, 11, 3]]), "targets": torch.tensor([0, 2])}
    batch["mask"] = (batch["inputs"] != 0).long()
    FAMILY.loss(model.train(), batch).loss.backward()
    assert all(p.grad is not None for n, p in model.named_parameters() if p.requires_grad and "pooler" not in n)
    FAMILY.export_hf(model.eval(), spec.shape, tmp_path / "out", None)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        logits = theirs(input_ids=batch["inputs"], attention_mask=batch["mask"]).logits
        assert torch.allclose(model.outputs(batch), logits, atol=1e-5)
