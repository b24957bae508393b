"""Model folders of a few thousand parameters, and labelled tables that they can learn."""

import csv
import random
from pathlib import Path
from typing import Any

from engine.study import StudySpec, parse_study

WORDS = {
    "fruit": ("apple", "pear", "plum", "grape", "melon", "cherry", "peach", "lemon"),
    "tool": ("hammer", "saw", "drill", "wrench", "pliers", "chisel", "clamp", "file"),
    "river": ("nile", "rhine", "volga", "indus", "congo", "seine", "tiber", "loire"),
}


def bert_folder(folder: Path, **over: Any) -> Path:
    """A BERT of one layer of width 16 and its tokenizer, which knows the words of the tables."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *(word for group in WORDS.values() for word in group), "and", "the"]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names: dict[str, Any] = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names |= {"mask_token": "[MASK]", "model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)
    settings = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(**settings | over)).save_pretrained(folder)
    return folder


def rows(n: int, seed: int = 0, words: int = 6) -> list[tuple[str, str]]:
    """(text, label): six words of a group, in an order of their own."""
    draw = random.Random(seed)
    labels = [list(WORDS)[i % len(WORDS)] for i in range(n)]
    return [(" and the ".join(draw.choices(WORDS[label], k=words)), label) for label in labels]


def table(file: Path, given: list[tuple[str, str]] | None = None) -> Path:
    """A .csv of 90 rows with the columns text and label."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        writer.writerows(rows(90) if given is None else given)
    return file


def study(base: Path | str, data: Path, **model: Any) -> StudySpec:
    """A fine-tuning of four epochs with everything measured."""
    return parse_study(
        {
            "name": "tuned",
            "title": "Tuned",
            "kind": "finetune",
            "model": {"family": "fine-tuned", "base": str(base), **model},
            "data": {"source": "labelled-table", "path": str(data), "max_length": 24},
            "ladder": {"sizes": [1000]},
            "training": {
                "epochs": 4, "batch_size": 16, "learning_rate": 0.003, "lr_rule": "fixed", "warmup_fraction": 0.1,
                "decay_fraction": 0.9, "eval_every_fraction": 0.25, "keep_best": True,
            },
            "capabilities": [{"name": "classification"}],
            "execution": {"threads": 1, "device": "cpu", "precision": "float32", "executor": "thread"},
        }
    )  # fmt: skip
