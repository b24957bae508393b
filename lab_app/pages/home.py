"""Home: the featured studies with one button each, this machine, and what was done before."""

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QLocale, Signal
from PySide6.QtWidgets import QToolButton, QVBoxLayout, QWidget

from engine.errors import InputError
from engine.events import RunState
from engine.i18n import mark, tr
from engine.machine import Machine
from engine.study import DERIVED, StudySpec, builtin_studies, load_study, study_id
from lab_app import words
from lab_app.context import Context
from lab_app.costs import Costs
from lab_app.models.catalog import Catalog
from lab_app.page import Page
from lab_app.widgets.basic import Flow, Note, clear, column, frame, row, scrolled, text_label
from lab_app.widgets.cards import FactRow, StudyCard

if TYPE_CHECKING:
    from engine.store.rows import RunRow, StudyRow

RECENT = 8
FIRST = ("quickstart", "addition-carries", "digits-cnn", "translation")
"""What a newcomer starts with stands before all others: loss, a sudden ability, images, two languages."""
FEATURED = len(FIRST)
UNFINISHED = frozenset({RunState.INTERRUPTED, RunState.FAILED, RunState.CANCELLED})


class HomePage(Page):
    """A newcomer presses one button here and reaches a result."""

    name = "home"
    title = mark("Home")
    icon = "home"

    start_wanted = Signal(object)
    """A ``StudySpec`` to be submitted."""
    edit_wanted = Signal(object)
    open_wanted = Signal(str, str)
    """(study id, page name)."""

    def __init__(self, context: Context, catalog: Catalog) -> None:
        super().__init__(context, catalog)
        self.studies = _builtins()
        self.costs = Costs(context, lambda: bool(catalog.active()))
        self.interrupted = Note("warn", closable=False)
        self.headline = text_label("title", wrap=True)
        self.subtitle = text_label("muted", wrap=True)
        self.cards: dict[str, StudyCard] = {}
        first, rest = self._cards(self.studies[:FEATURED]), self._cards(self.studies[FEATURED:])
        self.featured, self.more, self.machine_title, self.recent_title = (text_label("heading") for _ in range(4))
        self.facts = [FactRow() for _ in range(5)]
        self.recent: QVBoxLayout = column(spacing=0)
        self.no_recent = text_label("muted", wrap=True)
        lower = Flow(minimum=320)
        lower.addWidget(frame("card", column(self.machine_title, *self.facts, None, margins=(16, 14, 16, 14))))
        recent = column(self.recent_title, self.no_recent, self.recent, None, margins=(16, 14, 16, 14))
        lower.addWidget(frame("card", recent))
        lower_holder = QWidget()
        lower_holder.setLayout(lower)
        inside = QWidget()
        inside.setLayout(
            column(
                self.interrupted,
                column(self.headline, self.subtitle, spacing=3),
                self.featured,
                first,
                lower_holder,
                self.more,
                rest,
                None,
                spacing=14,
                margins=(22, 18, 22, 18),
            )
        )
        self.setLayout(column(scrolled(inside)))
        self._speak()
        context.language.changed.connect(self.refresh)
        context.theme.changed.connect(self.refresh)
        catalog.changed.connect(self.refresh)
        catalog.progressed.connect(lambda _: self._progress())
        self.refresh()

    def entered(self) -> None:
        # One is enough: it tells how this machine compares with the one the others' budgets were measured on.
        for study in self.studies[:1]:
            self.costs.measure(study, self.refresh)

    def refresh(self) -> None:
        """Show the catalogue as it is now."""
        for study in self.studies:
            self._fill(study)
        self._show_machine()
        self._show_recent()
        self._show_interrupted()

    def _speak(self) -> None:
        say = self.context.language.say
        say(self, self.headline.setText, mark("What happens to a model's abilities as it grows?"))
        subtitle = mark(
            "Pick a study. The lab trains a ladder of models of growing size, measures each and fits the law."
        )
        say(self, self.subtitle.setText, subtitle)
        say(self, self.featured.setText, mark("Featured studies"))
        say(self, self.more.setText, mark("More studies, the shortest first"))
        say(self, self.machine_title.setText, mark("This machine"))
        say(self, self.recent_title.setText, mark("Recent studies"))
        say(self, self.no_recent.setText, mark("Nothing yet. Start with the first study above: one button is enough."))

    def _cards(self, studies: list[StudySpec]) -> QWidget:
        flow = Flow(minimum=320)
        for study in studies:
            flow.addWidget(self._card(study))
        holder = QWidget()
        holder.setLayout(flow)
        return holder

    def _card(self, study: StudySpec) -> StudyCard:
        card = StudyCard(self.context.theme.size_color)
        self.cards[study.name] = card
        card.primary.clicked.connect(lambda _: self._primary(study))
        card.second.clicked.connect(lambda _: self.edit_wanted.emit(study))
        return card

    def _fill(self, study: StudySpec) -> None:
        card, language = self.cards[study.name], self.context.language.name
        ladder = study.ladder
        card.title.setText(study.text("title", language))
        card.question.setText(study.text("question", language))
        sizes = sorted(ladder.sizes)
        n_runs = len(sizes) * len(ladder.seeds)
        card.sizes.setText(
            tr(
                "{n} sizes from {low} to {high} parameters, {seeds} seeds: {runs} runs",
                n=len(sizes),
                low=words.count(sizes[0]),
                high=words.count(sizes[-1]),
                seeds=len(ladder.seeds),
                runs=n_runs,
            )
        )
        seconds, measured = self.costs.seconds(study)
        text = mark("About {time} on this machine") if measured else mark("Roughly {time} on this machine")
        card.cost.setText(tr(text, time=words.duration(_rounded(seconds))))
        runs = self.catalog.runs(study_id(study))
        card.ladder.show_sizes(sizes, _losses(runs, len(sizes)))
        card.ladder.setAccessibleName(card.sizes.text())
        card.primary.setText(tr(_next_step(runs)))
        card.primary.setAccessibleName(f"{card.primary.text()}: {card.title.text()}")
        card.second.setText(tr("Change…"))
        card.second.setAccessibleName(f"{card.second.text()} {card.title.text()}")
        self._show_progress(card, runs)

    def _show_progress(self, card: StudyCard, runs: "list[RunRow]") -> None:
        share = sum(self.catalog.fraction(run) for run in runs) / len(runs) if runs else 0.0
        card.progress.setVisible(0 < share < 1)
        card.progress.setValue(round(100 * share))
        card.progress.setAccessibleName(f"{card.title.text()}: {share:.0%}")

    def _progress(self) -> None:
        if self.isVisible():
            for study in self.studies:
                self._show_progress(self.cards[study.name], self.catalog.runs(study_id(study)))

    def _primary(self, study: StudySpec) -> None:
        key = study_id(study)
        runs = self.catalog.runs(key)
        if not runs or any(run.state in UNFINISHED for run in runs):
            self.start_wanted.emit(study)
        elif all(run.state == RunState.FINISHED for run in runs):
            self.open_wanted.emit(key, "scale")
        else:
            self.open_wanted.emit(key, "monitor")

    def _show_machine(self) -> None:
        machine = Machine.measure()
        facts = machine.facts()
        gpu = ", ".join(machine.gpus) or tr("none: runs use the processor")
        shown = (
            (tr("Processor"), str(facts["processor"]) or str(facts["machine"])),
            (tr("Cores"), str(machine.cores)),
            (tr("Free memory"), words.size(machine.memory_free)),
            (tr("GPU"), gpu),
            (tr("Data folder"), str(self.context.lab.home)),
        )
        for row_widget, (name, value) in zip(self.facts, shown, strict=True):
            row_widget.show_fact(name, value)

    def _show_recent(self) -> None:
        clear(self.recent)
        recent = self.catalog.studies[:RECENT]
        self.no_recent.setVisible(not recent)
        for study in recent:
            self.recent.addWidget(self._recent_row(study))

    def _recent_row(self, study: "StudyRow") -> QWidget:
        runs = self.catalog.runs(study.id)
        done = sum(run.state == RunState.FINISHED for run in runs)
        theme = self.context.theme
        name = QToolButton()
        name.setText(study.shown_title)
        name.setIcon(theme.icon("chart", theme.colors.accent))
        name.setToolButtonStyle(name.toolButtonStyle().ToolButtonTextBesideIcon)
        page = "scale" if runs and done == len(runs) else "monitor"
        name.clicked.connect(lambda _: self.open_wanted.emit(study.id, page))
        said = text_label("caption")
        text = mark("imported · {n} runs · {when}") if study.imported else mark("{done} of {n} runs · {when}")
        said.setText(tr(text, done=done, n=len(runs), when=_when(study.created)))
        name.setAccessibleName(f"{study.shown_title}, {said.text()}")
        holder = QWidget()
        holder.setLayout(row(name, None, said))
        return holder

    def _show_interrupted(self) -> None:
        shown = {study.id for study in self.catalog.studies}
        runs = [run for study in shown for run in self.catalog.runs(study) if run.state == RunState.INTERRUPTED]
        if not runs:
            self.interrupted.hide()
            return
        theme = self.context.theme
        self.interrupted.icon.setPixmap(theme.pixmap("warning", theme.colors.warn, 20))
        self.interrupted.say(
            tr("{n} runs were interrupted. They go on from their last checkpoint.", n=len(runs)),
            tr("Resume"),
            lambda: self.context.operations.resume(runs),
        )


def _builtins() -> list[StudySpec]:
    found = []
    for path in builtin_studies():
        try:
            found.append(load_study(str(path)))
        except InputError:  # one study written for a newer version must not take Home away
            continue
    places = {name: number for number, name in enumerate(FIRST)}
    return sorted(found, key=lambda study: (places.get(study.name, FEATURED), study.budget.cpu_seconds))


def _next_step(runs: "list[RunRow]") -> str:
    states = {run.state for run in runs}
    if not runs:
        return mark("Start")
    if states & UNFINISHED:
        return mark("Resume")
    return mark("Show results") if states == {RunState.FINISHED} else mark("Watch")


def _losses(runs: "list[RunRow]", n_sizes: int) -> list[float | None]:
    means: list[float | None] = []
    ladder = [run for run in runs if run.kind not in DERIVED]
    for index in range(n_sizes):
        found = [run.val_loss for run in ladder if run.size_index == index and run.val_loss is not None]
        means.append(sum(found) / len(found) if found else None)
    return means


def _rounded(seconds: float) -> float:
    """To what a forecast can promise: 5 s below a minute, 10 s below ten, then minutes."""
    step = 5 if seconds < 60 else 10 if seconds < 600 else 60
    return max(step, round(seconds / step) * step)


def _when(seconds: float) -> str:
    moment = time.localtime(seconds)
    locale = QLocale()
    today = time.localtime()
    if moment[:3] == today[:3]:
        return time.strftime("%H:%M", moment)
    from PySide6.QtCore import QDate

    return locale.toString(QDate(*moment[:3]), QLocale.FormatType.ShortFormat)
