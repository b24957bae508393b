"""Prompts and responses: only the response is learnt, templates are kept, and equal prompts stay on one side."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import InputError
from engine.sources import sources
from engine.sources._instruction_rows import read_rows
from tests.engine.small_bases import CHAT, causal_folder, prompts

SOURCE = sources["instruction-table"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prompts(tmp_path_factory.mktemp("data") / "groups.jsonl")


def prepared(path: Path, base: Path, cache: Path, **over: Any) -> Any:
    spec = SOURCE.Spec(path=str(path), tokenizer=str(base), **over)
    return SOURCE.prepare(spec, cache, lambda step, fraction: None)


def write(file: Path, *given: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    return file


def learnt(data: Any, row: int) -> tuple[str, str]:
    """What is given and what is learnt of a row, as a batch has it."""
    batch = data.collate(np.asarray([row, (row + 1) % len(data.parts)]))
    inputs, targets = batch["inputs"][0], batch["targets"][0]
    places = np.flatnonzero(targets >= 0)
    assert (targets[places] == inputs[places + 1]).all()
    assert batch["mask"][0].sum() == places[-1] + 2
    return data.decode(inputs[: places[0] + 1]), data.decode(targets[places])


def test_only_the_response_and_its_end_are_learnt(base: Path, table: Path, tmp_path: Path) -> None:
    data = prepared(table, base, tmp_path)
    text, label = json.loads(table.read_text().splitlines()[0]).values()
    given, answer = learnt(data, 0)
    assert given == f"{text} \n"
    assert answer.split() == [label, "<end>"]
    assert prepared(table, base, tmp_path).fingerprint == data.fingerprint


def test_a_chat_template_is_kept_to(table: Path, tmp_path: Path) -> None:
    data = prepared(table, causal_folder(tmp_path / "chat", chat=CHAT), tmp_path / "cache")
    text, label = json.loads(table.read_text().splitlines()[0]).values()
    given, answer = learnt(data, 0)
    assert given.split() == ["<user>", *text.split(), "<end>", "<assistant>"]
    assert answer.split() == [label, "<end>"]
    assert "chat_template.jinja" in data.tokenizer_files() or "chat_template" in str(data.tokenizer_files())


def test_a_template_that_hides_the_response_or_fails_is_one_sentence(table: Path, tmp_path: Path) -> None:
    for number, template in enumerate(("{{ messages[0]['content'] }} <user>", "{{ nonesuch() }}")):
        base = causal_folder(tmp_path / str(number), chat=template)
        with pytest.raises(InputError, match=r"data\.tokenizer: its chat template cannot be used"):
            prepared(table, base, tmp_path / "cache")


def test_texts_alone_are_learnt_but_for_their_first_token(base: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in prompts(tmp_path / "p.jsonl", 40).read_text().splitlines()]
    file = write(tmp_path / "texts.jsonl", *({"body": row["prompt"]} for row in rows))
    data = prepared(file, base, tmp_path / "cache", text="body")
    given, answer = learnt(data, 0)
    assert f"{given} {answer}".split() == [*rows[0]["prompt"].split(), "<end>"]
    assert len(given.split()) == 1


def test_a_prompt_is_cut_so_that_the_response_fits(base: Path, table: Path, tmp_path: Path) -> None:
    data = prepared(table, base, tmp_path, max_length=8)
    assert data.lengths(np.arange(90)).max() <= 8
    label = json.loads(table.read_text().splitlines()[0])["response"]
    assert learnt(data, 0)[1].split() == [label, "<end>"]
    assert any("90 of 90" in note for note in data.report.notes)


def test_equal_prompts_stay_on_one_side(base: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in prompts(tmp_path / "p.jsonl").read_text().splitlines()]
    twice = [{**row, "response": other} for row in rows for other in ("apple", "hammer plum clamp")]
    table = read_rows(SOURCE.Spec(path=str(write(tmp_path / "twice.jsonl", *twice))))
    sides: dict[str, set[int]] = {}
    for row, part in zip(table.rows, table.parts, strict=True):
        sides.setdefault(row.texts[0], set()).add(int(part))
    assert len(sides) == 90 and all(len(side) == 1 for side in sides.values())
    assert {part for side in sides.values() for part in side} == {0, 1, 2}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"prompt": "apple"}, "row 91 has no field 'response'"),
        ({"prompt": "apple", "response": " "}, "row 91: field 'response' is empty"),
        ({"prompt": 3, "response": "fruit"}, "row 91: field 'prompt' is not text"),
    ],
)
def test_a_bad_row_is_named(table: Path, tmp_path: Path, row: dict[str, Any], words: str) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(table.read_text() + json.dumps(row) + "\n")
    with pytest.raises(InputError, match=words.replace(" has", ".? has")):
        SOURCE.shape(SOURCE.Spec(path=str(bad)))
    assert SOURCE.shape(SOURCE.Spec(path=str(bad), skip_bad=True)).n_train_items == 63


def test_too_few_rows_and_no_tokenizer_are_said(table: Path, tmp_path: Path) -> None:
    few = write(tmp_path / "few.jsonl", {"prompt": "apple", "response": "fruit"})
    with pytest.raises(InputError, match="no row is left for validation"):
        SOURCE.shape(SOURCE.Spec(path=str(few)))
    with pytest.raises(InputError, match=r"data\.tokenizer: there is none"):
        SOURCE.prepare(SOURCE.Spec(path=str(table)), tmp_path, lambda step, fraction: None)


def test_a_split_column_and_previews(table: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    words = ("train", "dev", "test")
    file = write(tmp_path / "split.jsonl", *({**row, "part": words[i % 3]} for i, row in enumerate(rows)))
    assert read_rows(SOURCE.Spec(path=str(file), split="part")).parts.tolist() == [i % 3 for i in range(90)]
    shown = SOURCE.preview(SOURCE.Spec(path=str(table)), 2)
    assert [(one["text"], one["target"]) for one in shown] == [(r["prompt"], r["response"]) for r in rows[:2]]
