"""Model folders of a few thousand parameters, and labelled tables that they can learn."""

import csv
import json
import random
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from engine.families import families
from engine.study import RunSpec, StudySpec, parse_study

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


CHAT = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)


def causal_folder(folder: Path, architecture: str = "gpt2", chat: str = "", **over: Any) -> Path:
    """A causal model of one layer of width 16 and its tokenizer, which knows the words of the tables."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

    special = ["<unk>", "<end>", "<user>", "<assistant>"]
    words = [*special, *(word for group in WORDS.values() for word in group), "and", "the", *WORDS, "\n"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", eos_token="<end>", additional_special_tokens=special[2:]
    )
    tokenizer.chat_template = chat or None
    tokenizer.save_pretrained(folder)
    width = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    settings: dict[str, Any] = {"vocab_size": len(words), "bos_token_id": 1, "eos_token_id": 1}
    settings |= {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64} if architecture == "gpt2" else width
    if architecture != "gpt2":
        settings |= {"num_key_value_heads": 1, "max_position_embeddings": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = CONFIG_MAPPING[architecture](**settings | over)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def prompts(file: Path, n: int = 90) -> Path:
    """A .jsonl of words of a group, to be answered with the group's name."""
    lines = (json.dumps({"prompt": text, "response": label}) + "\n" for text, label in rows(n))
    file.write_text("".join(lines), encoding="utf-8")
    return file


def causal_study(base: Path | str, data: Path, **model: Any) -> StudySpec:
    """An instruction tuning of four epochs."""
    table: dict[str, Any] = to_builtins(study(base, data, **{"task": "causal", **model}))
    table["data"] = {"source": "instruction-table", "path": str(data), "max_length": 24}
    table["capabilities"] = [{"name": "responses"}]
    return parse_study(table)


def sentences(n: int) -> list[tuple[list[str], list[str]]]:
    """(words, tags), none twice: one or two words of a group are one entity of it, what lies between is none."""
    draw = random.Random(1)
    found: dict[tuple[str, ...], list[str]] = {}
    while len(found) < n:
        words, tags = ["the"], ["O"]
        for group in draw.sample(list(WORDS), 2):
            entity = draw.choices(WORDS[group], k=draw.choice((1, 2)))
            words += [*entity, "and"]
            tags += [f"B-{group}", *[f"I-{group}"] * (len(entity) - 1), "O"]
        found.setdefault(tuple(words), tags)
    return [(list(words), tags) for words, tags in found.items()]


def tagged(file: Path, given: list[tuple[list[str], list[str]]] | None = None) -> Path:
    """A .jsonl of 120 sentences with the columns words and tags."""
    rows = sentences(120) if given is None else given
    file.write_text("".join(json.dumps({"words": w, "tags": t}) + "\n" for w, t in rows), encoding="utf-8")
    return file


def tagging_study(base: Path | str, data: Path | str, **model: Any) -> StudySpec:
    """A tagger of four epochs."""
    table: dict[str, Any] = to_builtins(study(base, Path(), **{"task": "token-classification", **model}))
    table["data"] = {"source": "tagged-table", "path": str(data), "max_length": 24}
    table["capabilities"] = [{"name": "tagging"}]
    return parse_study(table)


def asked(n: int, per_text: int = 2) -> list[dict[str, Any]]:
    """Rows of a table of questions: a text names things of three groups, and the question is one of the groups."""
    draw = random.Random(2)
    found: list[dict[str, Any]] = []
    while len(found) < n:
        groups = draw.sample(list(WORDS), 3)
        words = [draw.choice(WORDS[group]) for group in groups]
        text = " and the ".join(words)
        if any(row["context"] == text for row in found):
            continue
        for group, word in list(zip(groups, words, strict=True))[:per_text]:
            found.append({"context": text, "question": f"the {WORDS[group][0]}", "answer": word})
    return found[:n]


def questions(file: Path, given: list[dict[str, Any]] | None = None) -> Path:
    """A .jsonl of 120 questions with the columns context, question and answer."""
    rows = asked(120) if given is None else given
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def question_study(base: Path | str, data: Path | str, **model: Any) -> StudySpec:
    """A span finder of four epochs."""
    table: dict[str, Any] = to_builtins(study(base, Path(), **{"task": "span-questions", **model}))
    table["data"] = {"source": "question-table", "path": str(data), "max_length": 32}
    table["capabilities"] = [{"name": "question-answering"}]
    return parse_study(table)


def encoder_folder(folder: Path, architecture: str) -> Path:
    """A base of another architecture beside the same tokenizer."""
    from transformers import CONFIG_MAPPING, AutoModel

    bert_folder(folder)
    settings: dict[str, Any] = {"vocab_size": 31, "max_position_embeddings": 40, "pad_token_id": 0}
    if architecture == "distilbert":
        settings |= {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    else:
        settings |= {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    AutoModel.from_config(CONFIG_MAPPING[architecture](**settings)).save_pretrained(folder)
    return folder


def taught(spec: RunSpec, given: Any, steps: int, rate: float) -> Any:
    """A fine-tuned model, of as many parameters as its run says, that has learnt a batch, in evaluation mode."""
    import torch

    family = families["fine-tuned"]
    model = family.build(spec.shape, 0).eval()
    assert spec.n_params == sum(p.numel() for p in model.parameters())
    before = family.loss(model, given).loss
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        family.loss(model, given).loss.backward()
        optimizer.step()
    assert family.loss(model, given).loss < before
    return model
