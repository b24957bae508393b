"""Tables of results, wide, long and with steps."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from engine.errors import InputError
from engine.importing import parse_size, read
from engine.importing import tables as tables_module
from engine.importing.found import FoundRun, size_in_name
from tests.engine.importing.samples import SIZES, law_loss, write_wide


def table(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def scores(run: FoundRun) -> dict[str, float]:
    return {f"{score.capability}/{score.metric}": score.value for score in run.scores}


@pytest.mark.parametrize(
    ("text", "value"),
    [("124M", 124e6), ("1.4b", 1.4e9), ("1e9", 1e9), ("124,439,808", 124_439_808), ("70 k", 70e3), ("1_000", 1e3)],
)
def test_sizes_as_people_write_them(text: str, value: float) -> None:
    assert parse_size(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "big", "1.2.3", "M", "-5", "1e30", "nan"])
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("gpt-124M", 124_000_000),
        ("EleutherAI/pythia-1.4b-deduped", 1_400_000_000),
        ("Qwen2.5-0.5B-Instruct", 500_000_000),
        ("runs/70m/seed1", 70_000_000),
        ("gpt2", None),
        ("Mixtral-8x7B", None),
        ("pythia-1b-300B", None),
        ("model-4bit", None),
    ],
)
def test_sizes_in_names(name: str, size: int | None) -> None:
    assert size_in_name(name) == size


def test_a_wide_table_is_a_run_per_row(tmp_path: Path) -> None:
    found = read([write_wide(tmp_path / "wide.csv")], {"hellaswag/acc": "hellaswag"})
    assert [run.n_params for run in found.runs] == list(SIZES)
    assert scores(found.runs[1]) == pytest.approx(
        {"language-modelling/loss": law_loss(3e6), "hellaswag/acc": 0.35}, abs=1e-6
    )
    assert [(h.name, h.read_as) for h in found.headers] == [
        *(("params", "n_params"), ("val_loss", "loss")),
        *(("hellaswag", "hellaswag/acc"), ("d_model", "")),
    ]
    assert any("d_model" in warning for warning in found.warnings)


def test_a_long_table_is_a_score_per_row(tmp_path: Path) -> None:
    text = (
        "model,task,metric,score,stderr,n_samples,chance\n"
        "pythia-70m,arc,acc,0.30,0.01,2376,0.25\npythia-70m,copying,exact_match,0.1,,200,\n"
        "pythia-160m,arc,acc,0.35,0.01,2376,0.25\npythia-160m,,loss,2.5,,,\n"
    )
    small, large = read([table(tmp_path, text)]).runs
    assert (small.name, small.n_params, large.n_params) == ("pythia-70m", 70_000_000, 160_000_000)
    arc = next(score for score in small.scores if score.capability == "arc")
    assert (arc.metric, arc.stderr, arc.n, arc.chance) == ("acc", 0.01, 2376, 0.25)
    assert next(score for score in small.scores if score.capability == "copying").stderr is None
    assert large.loss == 2.5


def test_rows_that_repeat_a_run_are_its_seeds(tmp_path: Path) -> None:
    runs = read([table(tmp_path, "n_params,loss\n1M,3.1\n1M,3.2\n2M,2.9\n1M,3.15\n")]).runs
    assert [(run.n_params, run.seed, run.loss) for run in runs] == [
        *((1_000_000, 0, 3.1), (1_000_000, 1, 3.2), (1_000_000, 2, 3.15)),
        (2_000_000, 0, 2.9),
    ]


def test_with_seeds_given_a_repeated_number_is_left_out(tmp_path: Path) -> None:
    found = read([table(tmp_path, "n_params,loss,seed\n1M,3.1,0\n1M,3.2,0\n1M,3.3,1\n")])
    assert [(run.seed, run.loss) for run in found.runs] == [(0, 3.1), (1, 3.3)]
    assert [(left.row, "again" in left.why) for left in found.excluded] == [(2, True)]


def test_rows_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path) -> None:
    text = "n_params,loss\n1M,3\n0,3\n-5,3\n,3\n2M,\n2M,0\n2M,-1\n2M,inf\n3M,2.5\n"
    found = read([table(tmp_path, text)])
    assert [run.n_params for run in found.runs] == [1_000_000, 3_000_000]
    reasons = {left.row: left.why for left in found.excluded}
    assert sorted(reasons) == [2, 3, 4, 5, 6, 7, 8]
    assert "no size" in reasons[2] and "-5" in reasons[3] and "no loss" in reasons[5] and "above zero" in reasons[7]


def test_several_budgets_of_tokens_become_variants(tmp_path: Path) -> None:
    rows = "".join(
        f"{n},{d},{2 + i / 10}\n" for i, (n, d) in enumerate((n, d) for n in ("1M", "2M") for d in ("1B", "4B"))
    )
    found = read([table(tmp_path, "N,D,loss\n" + rows)])
    assert {run.variant["training.tokens"] for run in found.runs} == {10**9, 4 * 10**9}
    ladder = read([table(tmp_path, "N,D,loss\n1M,1B,3\n2M,2B,2.5\n", "other.csv")])
    assert all(not run.variant for run in ladder.runs)


def test_several_families_are_told_apart(tmp_path: Path) -> None:
    found = read([table(tmp_path, "family,n_params,loss\na,1M,3\nb,1M,3.1\n")])
    assert {run.variant["model.family"] for run in found.runs} == {"a", "b"}
    assert any("2 families" in warning for warning in found.warnings)


def test_steps_make_curves_and_the_last_is_final(tmp_path: Path) -> None:
    rows = [
        f"{n},{step},{3 - step / 1e3 - i / 10},{4 - step / 1e3}"
        for i, n in enumerate(("1M", "2M"))
        for step in (300, 100, 200)
    ]
    small, large = read([table(tmp_path, "\n".join(["size,step,val_loss,train_loss", *rows]))]).runs
    curves = {curve.key: curve for curve in small.curves}
    assert curves["val/loss"].steps.tolist() == [100, 200, 300]
    assert curves["train/loss"].values[-1] == pytest.approx(3.7)
    assert scores(small) == pytest.approx({"language-modelling/loss": 2.7})
    assert large.loss == pytest.approx(2.6)


def test_every_kind_of_table_reads_alike(tmp_path: Path) -> None:
    csv = write_wide(tmp_path / "t.csv")
    lines = [line.split(",") for line in csv.read_text().splitlines()]
    columns = {name: [float(row[i]) for row in lines[1:]] for i, name in enumerate(lines[0])}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    (tmp_path / "t.tsv").write_text(csv.read_text().replace(",", "\t"))
    records = [dict(zip(lines[0], map(float, row), strict=True)) for row in lines[1:]]
    import json

    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    losses = [[run.loss for run in read([tmp_path / f"t.{kind}"]).runs] for kind in ("csv", "tsv", "parquet", "jsonl")]
    assert all(np.allclose(found, losses[0]) for found in losses)
    assert [run.n_params for run in read([tmp_path / "t.parquet"]).runs] == list(SIZES)


def test_several_tables_are_one_study(tmp_path: Path) -> None:
    one, two = write_wide(tmp_path / "a.csv", SIZES[:2]), write_wide(tmp_path / "b.csv", SIZES[2:])
    assert len(read([one, two]).runs) == len(SIZES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "no column 'n_params'"),
        ("n_params,d\n1,2\n", "no column with a loss or a score"),
        ("n_params,loss\n", "no rows"),
        ("", "is empty"),
        ("n_params,loss\n1M,three\n", "'three' is not a number"),
        ("n_params,loss\nbig,3\n", "'big' is not a number"),
        ("n_params,loss\n0,3\n", "no row that can be used"),
        ("n_params,loss,loss\n1,3,3\n", "2 columns named 'loss'"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read([table(tmp_path, text)])
    assert words in caught.value.message
    assert "\n" not in str(caught.value)


def test_a_mistyped_column_is_not_a_capability(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'n_params'"):
        read([write_wide(tmp_path / "t.csv")], {"n_param": "params"})
    with pytest.raises(InputError, match="no column 'nowhere'"):
        read([write_wide(tmp_path / "t.csv")], {"arc/acc": "nowhere"})


def test_a_table_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables_module, "MAX_ROWS", 1000)
    rows = "\n".join(f"{n},3.0" for n in range(1, 1200))
    with pytest.raises(InputError, match="more than 1,000 rows"):
        read([table(tmp_path, "n_params,loss\n" + rows)])


def test_many_budgets_of_tokens_are_told_by_the_half_decade(tmp_path: Path) -> None:
    rows = "".join(f"{1_000_000 * (1 + i % 3)},{2_000_000_000 + i * 1_000_000_000},{3 - i / 100}\n" for i in range(12))
    runs = read([table(tmp_path, "N,D,loss\n" + rows)]).runs
    assert {run.variant["training.tokens"] for run in runs} == {"1B to 3.16B", "3.16B to 10B", "10B to 31.6B"}
