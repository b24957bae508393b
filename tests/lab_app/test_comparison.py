"""Scale beside other studies: chosen in a menu, exported as seen, left out where they were not measured so."""

from lab_app.pages.scale import LOSS
from tests.lab_app.desk import Desk
from tests.lab_app.fakes import small_study


def test_other_studies_are_drawn_on_the_same_axes(desk: Desk) -> None:
    other = desk.finish(small_study(name="other", title="Another"))
    mine = desk.finish()
    scale = desk.scale
    desk.settle()
    assert scale.shown.law is not None
    (action,) = scale.compare.menu().actions()
    assert action.text() == "Another" and not action.isChecked()
    action.trigger()
    desk.settle()
    assert scale.figure_name == "comparison" and scale.options["others"] == other
    assert scale.shown.figure is not None and scale.shown.figure.provenance["studies"] == [mine, other]
    assert scale.shown.law is None and scale.problem.isHidden()
    assert scale.compare.menu().actions()[0].isChecked()
    scale.show_metric("word-completion", "exact_match")
    desk.settle()
    assert scale.figure_name == "comparison" and "Word completion" in scale.shown.figure.y.label
    scale.compare.menu().actions()[0].trigger()
    desk.settle()
    assert scale.figure_name == "capability-vs-params"


def test_a_study_that_was_not_measured_so_is_left_out(desk: Desk) -> None:
    other = desk.finish(small_study(name="other", title="Another"))
    desk.finish()
    scale = desk.scale
    scale.show_beside(other, True)
    desk.settle()
    scale.show_beside("nowhere", True)
    desk.settle()
    assert scale.others == (other,)
    desk.context.selection.choose_study(other)
    desk.until(lambda: scale.shown.law is not None)
    assert scale.others == () and scale.metric == LOSS


def test_a_study_opens_with_its_headline_and_a_choice_is_kept(desk: Desk) -> None:
    about = {"capability": "word-completion", "metric": "exact_match"}
    desk.finish(small_study(name="words", title="Words", headline=about))
    desk.settle()
    scale = desk.scale
    scale.rebuild()
    desk.settle()
    assert scale.metric == ("word-completion", "exact_match")
    titles = [scale.metric_box.itemText(i) for i in range(scale.metric_box.count())]
    assert titles[0] == "Validation loss" and len(set(titles)) == len(titles)
    scale.show_metric(*LOSS)
    scale.rebuild()
    desk.settle()
    assert scale.metric == LOSS and scale.figure_name == "loss-vs-params"
