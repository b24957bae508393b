"""Step 3: how it is trained, what it is compared with, and what that costs here."""

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QFormLayout, QGroupBox, QLineEdit, QSpinBox, QWidget

from engine.errors import KnownError
from engine.i18n import mark, tr
from engine.study import StudySpec, TrainingSpec, spec_hash
from lab_app import words
from lab_app.context import Context
from lab_app.modelling.draft import (
    FIELD,
    LONGEST,
    METHODS,
    SMALL,
    Checked,
    Draft,
    has_field,
    preset,
    suggested_title,
    task_named,
)
from lab_app.widgets.basic import button, column, restyle, row, text_label
from lab_app.widgets.form import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = {
    "epochs": (mark("Epochs"), mark("How often every training item is seen.")),
    "batch_size": (mark("Batch"), mark("Items per step.")),
    "learning_rate": (
        mark("Learning rate"),
        mark("Of full fine-tuning. LoRA and training from scratch take ten times it, a new head alone a hundred."),
    ),
    "weight_decay": (mark("Weight decay"), ""),
    "early_stopping_patience": (
        mark("Early stopping"),
        mark("Evaluations without improvement after which a run ends; 0 turns it off. The best model is kept anyway."),
    ),
}
"""Fields of ``training`` that are shown; the rest is the preset's."""
PRESETS = {
    FIELD: (
        mark("The field's preset"),
        mark("AdamW, 2e-5, batches of 32, 3 epochs: the recipe of Devlin et al. 2019, made for large encoders."),
    ),
    SMALL: (
        mark("For a small model"),
        mark("At a higher rate, and longer where it helps: small models and few items need it."),
    ),
}
COMPARED = {
    "frozen": mark("the untouched base with a new head"),
    "scratch": mark("the same network from scratch"),
}
MOST_SEEDS = 20
MOST_TOKENS = 131_072


class RecipeStep(QWidget):
    """The preset of the field, the few things one changes about it, and an estimate that follows."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.problem = ""
        self._draft = Draft()
        self.task = task_named(self._draft.task)
        self._planned = ""
        self._plan: Mapping[str, Any] | None = None
        self._planning = False
        self._quiet = True
        self._make_widgets()
        self._lay_out()
        self._connect()
        self.reset()
        self.speak()
        self._quiet = False
        self.title.setPlaceholderText(suggested_title(self._draft))

    def _make_widgets(self) -> None:
        self.title, self.method, self.about = QLineEdit(), QComboBox(), text_label("caption", wrap=True)
        for name in METHODS:
            self.method.addItem("", name)
        self.compare = {name: QCheckBox() for name in COMPARED}
        self.seeds, self.longest, self.balanced = QSpinBox(), QSpinBox(), QCheckBox()
        self.seeds.setRange(1, MOST_SEEDS)
        self.longest.setRange(4, MOST_TOKENS)
        self.form = Form(TrainingSpec, SHOWN, tuple(SHOWN))
        self.presets = {name: button() for name in PRESETS}
        self.verdict, self.reason = text_label("heading", wrap=True), text_label("muted", wrap=True, selectable=True)
        self.runs = text_label(wrap=True)
        self.labels = {name: text_label() for name in ("title", "method", "compare", "seeds", "longest")}

    def _lay_out(self) -> None:
        what = QFormLayout()
        what.setContentsMargins(0, 0, 0, 0)
        what.setHorizontalSpacing(14)
        what.setVerticalSpacing(8)
        what.addRow(self.labels["title"], self.title)
        what.addRow(self.labels["method"], column(self.method, self.about, spacing=3))
        what.addRow(self.labels["compare"], column(*self.compare.values(), spacing=4))
        what.addRow(self.labels["seeds"], row(self.seeds, None))
        self.what, self.how, self.costs = QGroupBox(), QGroupBox(), QGroupBox()
        self.what.setLayout(what)
        fields = self.form.layout()
        assert isinstance(fields, QFormLayout)
        fields.addRow(self.labels["longest"], self.longest)
        self.how.setLayout(column(self.form, self.balanced, row(*self.presets.values(), None), spacing=8))
        self.costs.setLayout(column(self.verdict, self.runs, self.reason, spacing=5))
        left, right = column(self.what, self.costs, None, spacing=10), column(self.how, None)
        both = row(left, right, spacing=12)
        both.setStretch(0, 3)
        both.setStretch(1, 2)
        self.setLayout(column(both, None))

    def _connect(self) -> None:
        self.title.textChanged.connect(lambda _: self._edited())
        self.method.currentIndexChanged.connect(lambda _: self._edited())
        for box in (*self.compare.values(), self.balanced):
            box.toggled.connect(lambda _: self._edited())
        for spin in (self.seeds, self.longest):
            spin.valueChanged.connect(lambda _: self._edited())
        self.form.changed.connect(self._edited)
        for name, one in self.presets.items():
            one.clicked.connect(lambda _, name=name: self._to_preset(name))
        self.context.language.changed.connect(self.speak)

    def reset(self) -> None:
        """The field's own recipe."""
        draft = Draft()
        self.method.setCurrentIndex(self.method.findData(draft.method))
        for name, box in self.compare.items():
            box.setChecked(name in draft.compare)
        self.seeds.setValue(draft.seeds)
        self.longest.setValue(draft.max_length)
        self.balanced.setChecked(False)
        self._show_preset(FIELD)

    def set_task(self, task: str) -> None:
        """Fields that it has no use for are put away."""
        self.task = task_named(task)
        text = has_field(self.task.source, LONGEST)
        for part in (self.longest, self.labels["longest"]):
            part.setVisible(text)
        self.balanced.setVisible(self.task.weighs_classes)
        self.title.setPlaceholderText(suggested_title(self._draft))

    def _show_preset(self, profile: str) -> None:
        found = preset(profile, self.task)
        self.form.set_values({name: value for name, value in found.items() if name in SHOWN})

    def store(self, draft: Draft) -> None:
        """Write what is entered into the draft."""
        draft.title = self.title.text()
        draft.method = self.method.currentData()
        draft.compare = tuple(name for name, box in self.compare.items() if box.isChecked())
        draft.seeds, draft.max_length = self.seeds.value(), self.longest.value()
        draft.balanced = self.balanced.isChecked()
        draft.recipe = self.form.values()
        self._draft = draft
        self.title.setPlaceholderText(suggested_title(draft))

    @property
    def chosen_words(self) -> str:
        """What was chosen, for the bar of steps."""
        return tr("{method}, seeds: {n}", method=tr(METHODS[self.method.currentData()][0]), n=self.seeds.value())

    def _to_preset(self, profile: str) -> None:
        self._show_preset(profile)
        self._edited()

    def _edited(self) -> None:
        self.about.setText(tr(METHODS[self.method.currentData()][1]))
        for name, box in self.compare.items():
            box.setEnabled(name != self.method.currentData())
        if not self._quiet:
            self.changed.emit()

    # -- what it costs ------------------------------------------------------------------------------------------

    def show_checked(self, checked: Checked | None, problem: str = "") -> None:
        """What is to be trained, or why it cannot be."""
        self.problem = problem
        if checked is None:
            self._plan, self._planned = None, ""
        self._checked = checked
        self._show_costs()

    def estimate(self) -> None:
        """Have the engine time a few steps, where the step is in view and that is not known yet."""
        checked = self._checked
        if checked is None or spec_hash(checked.study) == self._planned:
            return
        self._planned = spec_hash(checked.study)
        self._plan, self._planning = None, True
        self._show_costs()
        home, study = self.context.lab.home, checked.study
        run = lambda: self.context.jobs.run(  # noqa: E731
            lambda: _plan(study, home), self._show_plan, self._not_planned, slot="finetune-plan"
        )
        self.context.warmth.when_warm(run)

    def _show_plan(self, plan: "Mapping[str, Any]") -> None:
        self._plan, self._planning = plan, False
        self._show_costs()

    def _not_planned(self, error: Exception) -> None:
        self._planning, self._planned = False, ""
        restyle(self.verdict, "role", "bad")
        self.verdict.setText(tr("This study cannot run as it is."))
        self.reason.setText(str(error))
        if not isinstance(error, KnownError):
            self.context.operations.report(error)

    _checked: Checked | None = None

    def _show_costs(self) -> None:
        plan, checked = self._plan, self._checked
        restyle(self.verdict, "role", "bad" if self.problem or (plan and not plan["fits"]) else "heading")
        self.reason.setText("")
        self.runs.setText("")
        if checked is None:
            self.verdict.setText(self.problem or tr("Choose a base and data first."))
            return
        self.runs.setText(_runs_words(checked))
        if plan is None:
            self.verdict.setText(tr("Measuring this machine…") if self._planning else tr("Not measured yet."))
            return
        fits = bool(plan["fits"])
        self.verdict.setText(
            tr("It fits, and takes about {time}.", time=words.duration(plan["seconds"]))
            if fits
            else tr("It does not fit on this machine.")
        )
        said = [tr("Largest model needs {memory} of memory.", memory=words.size(_memory(plan)))]
        if plan.get("disk_bytes"):
            said.append(tr("Checkpoints and results take {disk}.", disk=words.size(plan["disk_bytes"])))
        said += [str(reason) for reason in plan.get("reasons") or ()]
        self.reason.setText(" ".join(said))

    def speak(self) -> None:
        """Say everything in the language in use."""
        titles = {
            "title": (tr("Name"), self.title),
            "method": (tr("What is trained"), self.method),
            "compare": (tr("Compare with"), next(iter(self.compare.values()))),
            "seeds": (tr("Seeds"), self.seeds),
            "longest": (tr("Longest text"), self.longest),
        }
        for name, (text, widget) in titles.items():
            self.labels[name].setText(text)
            self.labels[name].setBuddy(widget)
            if name != "compare":
                widget.setAccessibleName(text)
        for number, (title, _) in enumerate(METHODS.values()):
            self.method.setItemText(number, tr(title))
        for name, text in COMPARED.items():
            self.compare[name].setText(tr(text))
        self.seeds.setToolTip(tr("Every way of training is repeated with so many seeds: intervals come from them."))
        self.longest.setSuffix(" " + tr("tokens"))
        self.balanced.setText(tr("Let rare classes count as much as common ones"))
        for name, (text, tip) in PRESETS.items():
            self.presets[name].setText(tr(text))
            self.presets[name].setToolTip(tr(tip))
        self.what.setTitle(tr("What is trained and compared"))
        self.how.setTitle(tr("Recipe"))
        self.costs.setTitle(tr("Estimate"))
        self.form.speak()
        self._edited()
        self._show_costs()


def _plan(study: StudySpec, home: Any) -> "Mapping[str, Any]":
    from engine.planning import plan  # loads torch

    found: Mapping[str, Any] = plan(study, home)
    return found


def _memory(plan: "Mapping[str, Any]") -> int:
    return max((run["memory_bytes"] for run in plan["runs"]), default=0)


def _runs_words(checked: Checked) -> str:
    """How many runs of what, and how long each is."""
    runs = checked.runs
    methods = list(dict.fromkeys(str(run.shape.get("method", "")) for run in runs))
    sizes, seeds = len({run.size for run in runs}), len({run.seed for run in runs})
    named = ", ".join(tr(METHODS[name][0]) for name in methods if name in METHODS)
    return tr(
        "{n} runs: {methods}; sizes: {sizes}, seeds: {seeds}; {steps:,} steps each.",
        n=len(runs),
        methods=named,
        sizes=sizes,
        seeds=seeds,
        steps=runs[-1].training.n_steps,
    )
