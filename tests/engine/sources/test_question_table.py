"""Tables of questions: every format gives equal rows, answers are found across windows, no text is on two sides."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import InputError
from engine.sources import sources
from engine.sources._code_questions import named_values
from engine.sources._question_rows import read_rows
from tests.engine.small_bases import asked, bert_folder, questions

SOURCE = sources["question-table"]
ROWS = asked(120)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert_folder(tmp_path_factory.mktemp("base"))


def spec(path: Path | str, **over: Any) -> Any:
    return SOURCE.Spec(path=str(path), **over)


def prepared(path: Path | str, base: Path, cache: Path, **over: Any) -> Any:
    over = {"max_length": 32, **over}
    return SOURCE.prepare(spec(path, tokenizer=str(base), **over), cache, lambda step, fraction: None)


def as_jsonl(file: Path) -> tuple[Path, dict[str, str]]:
    return questions(file.with_suffix(".jsonl")), {}


def as_csv(file: Path) -> tuple[Path, dict[str, str]]:
    """With places, and one of them left out."""
    file = file.with_suffix(".csv")
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["context", "question", "answer", "at"])
        for i, row in enumerate(ROWS):
            writer.writerow([*row.values(), row["context"].find(row["answer"]) if i else ""])
    return file, {"answer_start": "at"}


def as_parquet(file: Path) -> tuple[Path, dict[str, str]]:
    """Answers as the datasets library keeps those of SQuAD."""
    file = file.with_suffix(".parquet")
    answers = [{"text": [r["answer"]], "answer_start": [r["context"].find(r["answer"])]} for r in ROWS]
    columns = {name: [row[name] for row in ROWS] for name in ("context", "question")}
    pq.write_table(pa.table({**columns, "answers": answers}), file)
    return file, {"answer": "answers"}


def as_squad(file: Path) -> tuple[Path, dict[str, str]]:
    file = file.with_suffix(".json")
    paragraphs = [
        {
            "context": row["context"],
            "qas": [
                {
                    "id": str(i),
                    "question": row["question"],
                    "answers": [{"text": row["answer"], "answer_start": row["context"].find(row["answer"])}],
                }
            ],
        }
        for i, row in enumerate(ROWS)
    ]
    file.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    return file, {}


@pytest.mark.parametrize("write", [as_jsonl, as_csv, as_parquet, as_squad])
def test_every_format_gives_the_same_rows_and_split(
    tmp_path: Path, write: Callable[[Path], tuple[Path, dict[str, str]]]
) -> None:
    file, over = write(tmp_path / "given")
    found = read_rows(spec(file, **over))
    assert [{"context": q.context, "question": q.question, "answer": q.answers[0]} for q in found.questions] == ROWS
    assert all(q.context[q.starts[0] :].startswith(q.answers[0]) for q in found.questions)
    reference = read_rows(spec(questions(tmp_path / "reference.jsonl")))
    assert found.table.parts.tolist() == reference.table.parts.tolist()
    assert np.bincount(found.table.parts).min() > 0


def test_no_text_and_no_group_is_on_two_sides(tmp_path: Path) -> None:
    rows = [{**row, "doc": i // 10} for i, row in enumerate(ROWS)]
    plain, grouped = (read_rows(spec(questions(tmp_path / "t.jsonl", rows), group=group)) for group in ("", "doc"))
    for key, found in (("context", plain), ("context", grouped), ("doc", grouped)):
        sides: dict[Any, set[int]] = {}
        for row, part in zip(rows, found.table.parts, strict=True):
            sides.setdefault(row[key], set()).add(int(part))
        assert all(len(parts) == 1 for parts in sides.values())
        assert found.table.leaked == 0
    copies = read_rows(spec(questions(tmp_path / "u.jsonl", [*rows, *rows[:7]])))
    assert (len(copies.questions), copies.table.copies) == (120, 7)


def test_an_answer_is_marked_by_its_tokens(base: Path, tmp_path: Path) -> None:
    data = prepared(questions(tmp_path / "t.jsonl"), base, tmp_path / "cache")
    rows = data.rows("test")
    batch = data.collate(rows)
    texts = data.texts()
    marks = zip(batch["inputs"], batch["targets"], data.begins[rows], rows, strict=True)
    for tokens, (first, last), begin, row in marks:
        held = texts[data.questions[row]]
        assert data.decode(tokens[first : last + 1]) == held.answers[0]
        assert first >= begin > 0
    assert batch["types"][0, data.begins[rows[0]]] == 1 and batch["types"][0, 1] == 0
    assert {"text", "target", "n_tokens", "padding"} == set(data.seen(2)[0])
    assert prepared(tmp_path / "t.jsonl", base, tmp_path / "cache").fingerprint == data.fingerprint


def test_long_texts_are_read_in_overlapping_windows(base: Path, tmp_path: Path) -> None:
    long = " and the ".join(["pear", "saw", "nile"] * 12 + ["plum"] + ["drill"] * 6)
    rows = [*ROWS, {"context": long, "question": "the apple", "answer": "plum"}]
    file = questions(tmp_path / "t.jsonl", rows)
    data = prepared(file, base, tmp_path / "cache", stride=8)
    place = next(i for i, q in enumerate(read_rows(spec(file)).questions) if q.context == long)
    part = int(read_rows(spec(file)).table.parts[place])
    number = int((read_rows(spec(file)).table.parts[:place] == part).sum())
    windows = np.flatnonzero((data.parts == part) & (data.questions == number))
    assert len(windows) > 3 and (data.lengths(windows) <= 32).all()
    read = [data.decode(data.collate(windows[i : i + 1])["inputs"][0, data.begins[w] : data.stops[w]]).split()
            for i, w in enumerate(windows)]  # fmt: skip
    joined = read[0] + [word for some in read[1:] for word in some[8:]]
    assert joined == long.split()  # each window takes up the last 8 tokens of the one before
    holding = [i for i, words in enumerate(read) if "plum" in words]
    marks = data.targets[windows]
    assert [i for i, (first, _) in enumerate(marks) if first] == holding
    assert all(marks[i].tolist() == [0, 0] for i in range(len(windows)) if i not in holding)
    assert "1 of 121 texts are read in several windows" in " ".join(data.report.notes)
    n_train = SOURCE.shape(spec(file, tokenizer=str(base), max_length=32, stride=8)).n_train_items
    assert n_train == len(data.rows("train"))


def test_questions_without_an_answer_mark_the_first_token(base: Path, tmp_path: Path) -> None:
    rows = [{**row, "answer": "" if i % 3 == 0 else row["answer"]} for i, row in enumerate(ROWS)]
    data = prepared(questions(tmp_path / "t.jsonl", rows), base, tmp_path / "cache")
    without = [not q.answers for q in data.texts()]
    assert 0 < sum(without) < len(without)
    assert (data.targets[data.rows("test")].max(axis=1) == 0).tolist() == without
    assert "40 of 120 questions have no answer" in " ".join(data.report.notes)


def test_questions_too_long_are_shortened(base: Path, tmp_path: Path) -> None:
    rows = [*ROWS, {"context": "the pear and the saw", "question": "the plum " * 60, "answer": "saw"}]
    data = prepared(questions(tmp_path / "t.jsonl", rows), base, tmp_path / "cache")
    assert "1 questions are cut to half a window" in " ".join(data.report.notes)
    assert (data.lengths(np.arange(len(data.parts))) <= 32).all()


def test_code_of_this_machine_answers_questions(base: Path, tmp_path: Path) -> None:
    found = read_rows(spec("", rows=120))
    assert len(found.questions) == 120
    assert all(q.context[q.starts[0] :].startswith(q.answers[0]) for q in found.questions)
    assert all(named_values(q.context) > 1 for q in found.questions)
    sides: dict[str, set[int]] = {}
    for question, part in zip(found.questions, found.table.parts, strict=True):
        sides.setdefault(question.group, set()).add(int(part))
    assert all(len(parts) == 1 for parts in sides.values())
    assert SOURCE.preview(spec(""), 1)[0]["target"]


BAD = [
    ({"answer": "hammer of gods"}, "row 2: the answer 'hammer of gods' does not stand in the context"),
    ({"answer": 7}, "row 2: field 'answer' holds no answers"),
    ({"context": " "}, "row 2: field 'context' is empty"),
    ({"question": ""}, "row 2: field 'question' is empty"),
    ({"question": None}, "row 2: field 'question' is not text"),
    ({"answer": {"text": ["pear"], "answer_start": [9999]}}, "row 2: the answer 'pear' does not stand at .* 9999"),
    ({"answer": {"text": ["pear"], "answer_start": [1, 2]}}, "row 2: field .* holds no answers"),
]


@pytest.mark.parametrize(("change", "why"), BAD)
def test_bad_rows_are_named_or_left_out(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    file = questions(tmp_path / "t.jsonl", [ROWS[0], {**ROWS[1], **change}, *ROWS[2:]])
    with pytest.raises(InputError, match=rf"t\.jsonl, {why}"):
        read_rows(spec(file))
    found = read_rows(spec(file, skip_bad=True))
    assert (len(found.questions), found.table.skipped.n) == (119, 1)


def test_no_answers_at_all_and_other_json_are_refused(tmp_path: Path) -> None:
    empty = questions(tmp_path / "t.jsonl", [{**row, "answer": ""} for row in ROWS])
    with pytest.raises(InputError, match=r"data\.answer: no question has an answer"):
        read_rows(spec(empty))
    other = tmp_path / "other.json"
    other.write_text('{"version": 1}')
    with pytest.raises(InputError, match=r"other\.json: is no file as SQuAD's are"):
        read_rows(spec(other))
    with pytest.raises(InputError, match="has no field 'reply'"):
        read_rows(spec(questions(tmp_path / "u.jsonl"), answer="reply"))


def test_files_of_squad_are_named_by_their_part(tmp_path: Path) -> None:
    whole = json.loads(as_squad(tmp_path / "x")[0].read_text())["data"][0]["paragraphs"]
    (tmp_path / "x.json").unlink()
    for name, some in (("train-v2.0", whole[:80]), ("dev-v2.0", whole[80:100]), ("test-v2.0", whole[100:])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"data": [{"title": name, "paragraphs": some}]}))
    found = read_rows(spec(tmp_path))
    assert np.bincount(found.table.parts).tolist() == [80, 20, 20]


def test_columns_are_guessed(tmp_path: Path) -> None:
    file = questions(tmp_path / "t.jsonl", [{"id": 1, "passage": "a pear", "query": "what", "answers": "pear"}])
    found = SOURCE.guess(SOURCE.columns(spec(file)))
    named = {"context": "passage", "question": "query", "answer": "answers"}
    assert found == {**named, "answer_start": "", "group": "", "split": ""}
