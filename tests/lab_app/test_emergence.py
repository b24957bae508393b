"""What the page Emergence reads of a study."""

from engine.store import Store
from lab_app.pages.emergence import read
from tests.engine.exporting.homes import finished


def test_what_was_measured_is_shown_where_sizes_are_too_few_for_a_verdict() -> None:
    with Store.open(finished("cnn"), read_only=True) as store:
        reader = store.reader()
        study = reader.run(1).study_id
        shown = read(reader, study, "", "", "non-embedding")
        scores = {row.metric: row.value for row in reader.evaluations(study, final_only=True)}
    assert shown.document is not None and shown.document["verdict"] == "insufficient"
    assert not shown.problem and set(shown.metrics.values()) == {""}
    for metric, figure in zip(shown.metrics, shown.figures, strict=True):
        assert figure.provenance["metric"] == metric
        assert any(list(series.y) == [scores[metric]] for series in figure.series), metric
