"""Budget and recipe: how long each model trains, how, and what is measured on it."""

from typing import Any

from PySide6.QtWidgets import QCheckBox, QComboBox, QGroupBox, QLineEdit

from engine.capabilities import capabilities
from engine.i18n import mark, tr
from engine.study import TrainingSpec
from lab_app.context import Context
from lab_app.widgets.basic import column, row, text_label
from lab_app.widgets.form import Form, parse_number
from lab_app.wizard import base

BUDGETS = {
    "tokens": mark("Tokens for every model"),
    "tokens_per_param": mark("Tokens per parameter"),
    "steps": mark("Steps for every model"),
    "epochs": mark("Passes over the training items"),
}
TITLES = {
    "context": (mark("Context"), mark("Tokens a model sees at once.")),
    "batch_size": (mark("Batch size"), mark("Sequences in one optimizer step.")),
    "optimizer": (mark("Optimizer"), mark("AdamW for every matrix, or Muon for the hidden ones.")),
    "learning_rate": (mark("Learning rate"), mark("Peak rate at the base width; the rule carries it to the others.")),
    "lr_rule": (mark("Learning-rate rule"), mark("How the rate follows the width: a fixed rate bends the law.")),
    "base_width": (mark("Base width"), mark("The width at which the learning rate was chosen.")),
    "weight_decay": (mark("Weight decay"), ""),
    "grad_clip": (mark("Gradient clipping"), mark("Largest norm of the gradient; 0 turns clipping off.")),
    "schedule": (mark("Schedule"), mark("Warm-up, then stable and a linear decay (wsd), cosine, or constant.")),
    "warmup_fraction": (mark("Warm-up share"), ""),
    "decay_fraction": (mark("Decay share"), mark("Share of the steps in which wsd decays.")),
    "early_stopping_patience": (
        mark("Early stopping"),
        mark("Evaluations without improvement after which a run ends; 0 turns it off."),
    ),
    "keep_best": (mark("Keep the best checkpoint"), ""),
}


class TrainingStep(base.Step):
    """Budget, recipe and capabilities."""

    title = mark("Budget and recipe")
    icon = "budget"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.mode = QComboBox()
        for key in BUDGETS:
            self.mode.addItem("", key)
        self.amount = QLineEdit()
        self.amount.setMaximumWidth(160)
        self.form = Form(TrainingSpec, TITLES, tuple(TITLES))
        self.form.changed.connect(self._edited)
        self.boxes: dict[str, QCheckBox] = {}
        self.measured = column(spacing=4)
        for name in capabilities:
            self.boxes[name] = QCheckBox()
            self.boxes[name].toggled.connect(lambda _: self._edited())
            self.measured.addWidget(self.boxes[name])
        self.label = text_label()
        self.budget_group, self.recipe_group, self.measure_group = QGroupBox(), QGroupBox(), QGroupBox()
        self.budget_group.setLayout(row(self.label, self.mode, self.amount, None))
        self.recipe_group.setLayout(column(self.form))
        self.measure_group.setLayout(self.measured)
        self.setLayout(column(self.budget_group, self.measure_group, self.recipe_group, None, spacing=12))
        self._training: dict[str, Any] = {}
        self._quiet = True
        self.mode.currentIndexChanged.connect(lambda _: self._edited())
        self.amount.textChanged.connect(lambda _: self._edited())
        context.language.changed.connect(self._speak)
        self._speak()

    def load(self, table: base.Table) -> None:
        self._quiet = True
        self._training = dict(table.get("training", {}))
        mode = next((key for key in BUDGETS if key in self._training), "tokens")
        self.mode.setCurrentIndex(self.mode.findData(mode))
        self.amount.setText(f"{self._training[mode]:,}" if mode in self._training else "")
        self.form.set_values(self._training)
        used = {use["name"] for use in table.get("capabilities", ())}
        for name, box in self.boxes.items():
            box.setChecked(name in used)
        self._quiet = False

    def store(self, table: base.Table) -> None:
        shown = {field.name for field in self.form.fields}
        training = {k: v for k, v in self._training.items() if k not in shown and k not in BUDGETS}
        training |= self.form.values()
        mode = self.mode.currentData()
        try:
            training[mode] = parse_number(self.amount.text(), whole=mode not in ("tokens_per_param", "epochs"))
        except ValueError:
            training[mode] = self.amount.text()  # refused by the study's own check, which names the field
        table["training"] = training
        options = {use["name"]: use for use in table.get("capabilities", ())}
        # Those of the table in its order: another order would be another study.
        order = [*(name for name in options if name in self.boxes), *(n for n in self.boxes if n not in options)]
        chosen = [options.get(n, {"name": n}) for n in order if self.boxes[n].isChecked()]
        if chosen or "capabilities" in table:  # a study that measures nothing is not made to spell that out
            table["capabilities"] = chosen

    def _edited(self) -> None:
        if not self._quiet:
            self.changed.emit()

    def _speak(self) -> None:
        self.budget_group.setTitle(tr("Budget"))
        self.recipe_group.setTitle(tr("Recipe"))
        self.measure_group.setTitle(tr("Abilities to measure"))
        self.label.setText(tr("Each model trains on"))
        self.label.setBuddy(self.mode)
        for number, text in enumerate(BUDGETS.values()):
            self.mode.setItemText(number, tr(text))
        self.mode.setAccessibleName(tr("Each model trains on"))
        self.amount.setAccessibleName(tr("Amount"))
        for name, box in self.boxes.items():
            box.setText(tr(capabilities[name].title))
            box.setToolTip(tr(capabilities[name].description))
        self.form.speak()
