"""What a quality report says, in sentences and small figures."""

from typing import TYPE_CHECKING

from PySide6.QtWidgets import QFrame, QLabel, QWidget

from engine.i18n import mark, tr
from lab_app import words
from lab_app.context import Context
from lab_app.widgets.bars import Bars
from lab_app.widgets.basic import Flow, clear, column, frame, row, text_label
from lab_app.widgets.table import Column, RowsModel, Table

if TYPE_CHECKING:
    from engine.sources.base import QualityReport

UNEVEN = 3
"""How many times the smallest class the largest may be before the labels are called uneven."""
MOST_LABELS = 30
"""Classes drawn as bars; of more, the largest and smallest are."""
QUANTILES = (5, 25, 50, 75, 95)
GOOD, WARN, PLAIN = "good", "warn", "muted"
SIGNS = {GOOD: "check", WARN: "warning", PLAIN: "info"}


def sentences(report: "QualityReport") -> list[tuple[str, str]]:
    """(role, sentence) of everything worth saying, what may be wrong first."""
    said = [*_of_skipped(report), *_of_labels(report)]
    if report.n_train or report.n_validation:
        said += [*_of_duplicates(report), _of_leaks(report)]
    said += [(PLAIN, note) for note in report.notes]
    return sorted(said, key=lambda one: one[0] != WARN)


def _of_skipped(report: "QualityReport") -> list[tuple[str, str]]:
    if not report.n_skipped:
        return []
    return [(WARN, tr("Left out because it could not be used: {n} files or rows, listed below.", n=report.n_skipped))]


def _of_labels(report: "QualityReport") -> list[tuple[str, str]]:
    counts = [n for _, n in report.label_counts]
    if not counts:
        return []
    low, high = min(counts), max(counts)
    if not low:
        n = sum(not count for count in counts)
        return [(WARN, tr("{n} of {all} classes have nothing that can be used.", n=n, all=len(counts)))]
    if high > UNEVEN * low:
        text = tr(
            "The classes are uneven: the largest has {ratio:.1f} times as many as the smallest. "
            "Always guessing the largest would be right {share:.0%} of the time.",
            ratio=high / low,
            share=high / sum(counts),
        )
        return [(WARN, text)]
    return [(GOOD, tr("The {n} classes are even: from {low:,} to {high:,} each.", n=len(counts), low=low, high=high))]


def _of_duplicates(report: "QualityReport") -> list[tuple[str, str]]:
    exact = (
        tr("Exact copies that were left out: {n}.", n=f"{report.exact_duplicates:,}")
        if report.exact_duplicates
        else tr("There are no exact copies.")
    )
    near = (
        tr("Near-duplicates, which stay together on one side: {n}.", n=f"{report.near_duplicates:,}")
        if report.near_duplicates
        else tr("There are no near-duplicates.")
    )
    return [(PLAIN if report.exact_duplicates else GOOD, exact), (PLAIN if report.near_duplicates else GOOD, near)]


def _of_leaks(report: "QualityReport") -> tuple[str, str]:
    if report.leaked:
        return WARN, tr("{n} held-out items have a near-duplicate in training: scores will flatter.", n=report.leaked)
    return GOOD, tr("Nothing that is held out was found in training.")


class QualityView(QWidget):
    """Shows one report; ``show_report`` again after the language or the scheme changed."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._report: QualityReport | None = None
        self.figures, self.sentences = Flow(minimum=150, spacing=8), column(spacing=5)
        figures = QWidget()
        figures.setLayout(self.figures)
        self.bars = Bars()
        self.lengths = text_label(wrap=True, selectable=True)
        self.formats = text_label(wrap=True, selectable=True)
        self.headings = {key: text_label("heading") for key in HEADINGS}
        self.skipped = RowsModel()
        self.table = Table(self.skipped)
        parts: list[QWidget] = []
        for key, part in self._parts().items():
            parts += [self.headings[key], part]
        self.setLayout(column(figures, self.sentences, *parts, None, spacing=10, margins=(0, 2, 8, 10)))
        for key, text in HEADINGS.items():
            context.language.say(self, self.headings[key].setText, text)
        context.language.say(self, self.bars.setAccessibleName, HEADINGS["labels"])
        context.language.say(self, self.table.setAccessibleName, HEADINGS["skipped"])
        context.language.changed.connect(self.again)
        context.theme.changed.connect(self.again)

    def _parts(self) -> dict[str, QWidget]:
        return {"labels": self.bars, "lengths": self.lengths, "formats": self.formats, "skipped": self.table}

    def again(self) -> None:
        """Say it in the language and the colours in use."""
        if self._report is not None:
            self.show_report(self._report)

    def show_report(self, report: "QualityReport") -> None:
        """Show this report."""
        self._report = report
        self._show_figures(report)
        clear(self.sentences)
        for role, text in sentences(report):
            self.sentences.addLayout(self._sentence(role, text))
        self.bars.show_counts(_shown_labels(report.label_counts))
        self.lengths.setText(_length_words(report))
        self.formats.setText(", ".join(f"{name} {n:,}" for name, n in report.encodings))
        self.skipped.set_columns([Column(tr("File or row"), lambda s: s[0]), Column(tr("Why"), lambda s: s[1])])
        self.skipped.set_rows(report.skipped)
        self.table.fit()
        self.table.setFixedHeight(32 + 26 * min(8, len(report.skipped) + 1))
        there = {
            "labels": bool(report.label_counts),
            "lengths": bool(report.length_quantiles),
            "formats": bool(report.encodings),
            "skipped": bool(report.skipped),
        }
        for key, part in self._parts().items():
            self.headings[key].setVisible(there[key])
            part.setVisible(there[key])

    def _show_figures(self, report: "QualityReport") -> None:
        clear(self.figures)
        n_bytes = report.bytes_train + report.bytes_validation
        figures = (
            (tr("items"), f"{report.n_documents:,}", bool(report.n_documents)),
            (tr("for training"), f"{report.n_train:,}", bool(report.n_train)),
            (tr("held out"), f"{report.n_validation:,}", bool(report.n_validation)),
            (tr("of data"), words.size(n_bytes), bool(n_bytes)),
        )
        for name, value, there in figures:
            if there:
                self.figures.addWidget(_figure(name, value))

    def _sentence(self, role: str, text: str) -> object:
        theme = self._context.theme
        sign, said = QLabel(), text_label(PLAIN if role == PLAIN else "", wrap=True, selectable=True)
        sign.setPixmap(theme.pixmap(SIGNS[role], getattr(theme.colors, role), 16))
        sign.setFixedWidth(20)
        said.setText(text)
        made = row(sign, said, spacing=6)
        made.setStretch(1, 1)
        return made


HEADINGS = {
    "labels": mark("Classes"),
    "lengths": mark("Sizes"),
    "formats": mark("Encodings and formats"),
    "skipped": mark("Left out"),
}


def _figure(name: str, value: str) -> QFrame:
    number, said = text_label("number"), text_label("caption")
    number.setText(value)
    said.setText(name)
    number.setAccessibleName(f"{name}: {value}")
    return frame("plain", column(number, said, spacing=0, margins=(12, 8, 12, 8)))


def _shown_labels(counts: "tuple[tuple[str, int], ...]") -> list[tuple[str, int]]:
    if len(counts) <= MOST_LABELS:
        return list(counts)
    ordered = sorted(counts, key=lambda one: -one[1])
    return [*ordered[: MOST_LABELS // 2], *ordered[-MOST_LABELS // 2 :]]


def _length_words(report: "QualityReport") -> str:
    if not report.length_quantiles:
        return ""
    low, quarter, half, three, high = (words.count(round(q)) for q in report.length_quantiles)
    return tr(
        "Half of them have between {quarter} and {three} {unit}, the middle one {half}; "
        "nine in ten between {low} and {high}.",
        unit=tr(report.length_unit),
        low=low,
        quarter=quarter,
        half=half,
        three=three,
        high=high,
    )
