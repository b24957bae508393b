"""What the actions do: one method per entry of the table of commands, named by its id."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QFileDialog, QInputDialog, QMessageBox

from engine import __version__
from engine.errors import KnownError
from engine.i18n import tr
from engine.study import StudySpec, refuse_imported, to_toml_table
from engine.tables import to_toml, write_table
from lab_app.context import Context

if TYPE_CHECKING:
    from lab_app.window import MainWindow

UNDER_WAY = ("queued", "running", "paused")
ENDABLE = (*UNDER_WAY, "interrupted")


class Deeds:
    """Each is called without arguments when its action is triggered; what it needs is asked in a dialog."""

    def __init__(self, window: "MainWindow", context: Context) -> None:
        self._window, self._context = window, context

    def new_study(self) -> None:
        self._window.show_page("train")

    def open_study(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self._window, tr("Open study file"), "", "TOML (*.toml)")
        if path:
            self._window.open_study_file(Path(path))

    def duplicate_study(self) -> None:
        study = self._window.study()
        if study is not None:
            spec = self._context.reader().study_spec(study.id)
            if self._may_be_run(spec):
                self._window.edit_study(spec)

    def save_study(self) -> None:
        study = self._window.study()
        if study is None:
            return
        spec = self._context.reader().study_spec(study.id)
        if not self._may_be_run(spec):
            return
        path, _ = QFileDialog.getSaveFileName(self._window, tr("Save study"), f"{spec.name}.toml", "TOML (*.toml)")
        if path:
            self._write(lambda: _save(Path(path), spec))

    def import_results(self) -> None:
        self._window.import_files([])

    def own_data(self) -> None:
        page: Any = self._window.show_page("data")
        folder = QFileDialog.getExistingDirectory(self._window, tr("Choose a folder"))
        if folder:
            page.take(Path(folder))

    def export_figure(self) -> None:
        page: Any = self._window.pages.get(self._window.page_name)
        if getattr(page, "figure_name", ""):
            self.export(page.figure_name, page.options)
        else:
            self.export("loss-vs-params", {})

    def export_results(self) -> None:
        study = self._context.selection.study
        kinds = "CSV (*.csv);;Parquet (*.parquet)"
        path, _ = QFileDialog.getSaveFileName(self._window, tr("Export results"), f"{study}.csv", kinds)
        if path:
            kind = "parquet" if path.endswith(".parquet") else "csv"
            self._write(lambda: write_table(self._context.reader(), study, Path(path), kind))

    def export_study(self) -> None:
        study = self._window.study()
        if study is None:
            return
        from lab_app.dialogs.export_study import ExportStudyDialog

        runs = self._window.catalog.runs(study.id)
        dialog = ExportStudyDialog(self._context, runs, self._context.selection.run, self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def evaluate(self) -> None:
        study = self._window.study()
        if study is None:
            return
        from lab_app.dialogs.evaluate import EvaluateDialog

        spec = self._context.reader().study_spec(study.id)
        chosen = [use.name for use in spec.capabilities] or [spec.headline.capability]
        runs = self._window.catalog.runs(study.id)
        dialog = EvaluateDialog(self._context, runs, self._context.selection.run, chosen, self._window)
        dialog.evaluated.connect(self._context.operations.changed)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def settings(self) -> None:
        from lab_app.dialogs.settings import SettingsDialog

        dialog = SettingsDialog(self._context, self._window)
        dialog.language.activated.connect(lambda _: self._window.use_language(dialog.language.currentData()))
        dialog.theme.activated.connect(lambda _: self._window.use_theme(dialog.theme.currentData()))
        dialog.exec()
        dialog.deleteLater()

    def quit(self) -> None:
        self._window.close()

    def undo(self) -> None:
        self._context.operations.undo_stack.undo()

    def redo(self) -> None:
        self._context.operations.undo_stack.redo()

    def rename_study(self) -> None:
        study = self._window.study()
        if study is not None:
            title, sure = QInputDialog.getText(self._window, tr("Rename study"), tr("Title"), text=study.shown_title)
            if sure:
                self._context.operations.rename(study, title)

    def edit_notes(self) -> None:
        self._window.docks["inspector"].show()
        self._window.docks["inspector"].raise_()
        self._window.inspector.tabs.setCurrentIndex(1)
        self._window.inspector.notes.setFocus()

    def trash_study(self) -> None:
        study = self._window.study()
        if study is None:
            return
        if any(run.state in UNDER_WAY for run in self._window.catalog.runs(study.id)):
            self._window.note.say(tr("This study still has runs in the queue. Cancel them first."))
            return
        self._context.operations.trash(study)
        self._context.selection.choose_study("")

    def open_trash(self) -> None:
        titles = {f"{study.shown_title} ({study.id})": study for study in self._window.catalog.trashed}
        names = list(titles)
        chosen, sure = QInputDialog.getItem(self._window, tr("Restore from trash"), tr("Study"), names, 0, False)
        if sure and chosen in titles:
            self._context.operations.trash(titles[chosen], False)

    def copy_command(self) -> None:
        chosen, home = self._window.study(), self._context.lab.home
        study = self._context.selection.study
        if chosen is not None and not self._may_be_run(self._context.reader().study_spec(study)):
            return
        # A study may differ from the built-in one of its name: the command reads exactly what was run.
        file = home / "studies" / f"{study}.toml"
        if self._write(lambda: _save(file, self._context.reader().study_spec(study))):
            command = f"python3 main.py run {shlex.quote(str(file))} --home {shlex.quote(str(home))}"
            self._copied(command)

    def search_runs(self) -> None:
        self._window.docks["studies"].show()
        self._window.studies.focus_search()

    def full_screen(self) -> None:
        full = not self._window.isFullScreen()
        for part in (*self._window.docks.values(), self._window.toolbar):
            if full:
                part.setProperty("was-shown", not part.isHidden())
                part.hide()
            elif part.property("was-shown"):
                part.show()
        self._window.showFullScreen() if full else self._window.showNormal()
        self._window.actions_table.by_id["full_screen"].setChecked(full)

    def reset_layout(self) -> None:
        self._window.reset_layout()

    def start(self) -> None:
        self._context.operations.resume(self._window.runs())

    def pause(self) -> None:
        self._context.operations.pause(self._window.runs())

    def cancel(self) -> None:
        runs = [run for run in self._window.runs() if run.state in ENDABLE]
        box = QMessageBox(self._window)
        box.setWindowTitle(tr("Cancel"))
        box.setText(tr("End {n} runs for good?", n=len(runs)))
        box.setInformativeText(tr("What was measured so far is kept. To go on later, pause them instead."))
        end = box.addButton(tr("End them"), QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(tr("Keep them"), QMessageBox.ButtonRole.RejectRole)
        box.exec()
        if box.clickedButton() is end:
            self._context.operations.cancel(runs)

    def pause_all(self) -> None:
        self._context.operations.pause(self._window.catalog.active())

    def resume_all(self) -> None:
        wanted = [run for run in self._window.catalog.waiting() if run.state in ("paused", "interrupted")]
        self._context.operations.resume(wanted)

    def compress(self) -> None:
        """Ask what is to be done to the chosen run, or to the whole study, and queue it as a study of its own."""
        from engine.derived import study_of
        from lab_app.dialogs.compress import CompressDialog

        study, run = self._window.study(), self._window.catalog.run(self._context.selection.run)
        if study is None:
            return
        dialog = CompressDialog(run.label if run is not None else study.shown_title, self._window)
        sure, methods = dialog.exec(), dialog.methods
        dialog.deleteLater()
        if not sure:
            return
        what, reader = str(run.id) if run is not None else study.id, self._context.reader()
        operations = self._context.operations

        def queued(made: str) -> None:
            self._context.selection.choose_study(made)
            page: Any = self._window.show_page("models")
            page.show_tab("compression")

        self._context.jobs.run(
            lambda: study_of(reader, what, methods), lambda spec: operations.submit(spec, queued), operations.report
        )

    def show_loss(self) -> None:
        page: Any = self._window.show_page("scale")
        page.show_metric("language-modelling", "loss")

    def show_capability(self) -> None:
        page: Any = self._window.show_page("scale")
        page.show_capability()

    def show_emergence(self) -> None:
        self._window.show_page("emergence")

    def switch_convention(self) -> None:
        page: Any = self._window.show_page("scale")
        page.switch_convention()

    def export_curves(self) -> None:
        self.export("loss-curves", {})

    def palette(self) -> None:
        from lab_app.widgets.palette import Palette

        dialog = Palette(self._window.actions_table.all(), self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def open_home(self) -> None:
        QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._context.lab.home)))

    def help(self) -> None:
        from lab_app.dialogs.help import HelpDialog

        dialog = HelpDialog(self._window.actions_table.all(), self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def copy_diagnostics(self) -> None:
        from lab_app.dialogs.crash import diagnostics, end_of_log

        home = self._context.lab.home
        self._copied(diagnostics(home, end_of_log(home)))

    def about(self) -> None:
        box = QMessageBox(self._window)
        box.setWindowTitle(tr("About Emergence Lab"))
        box.setIconPixmap(self._context.theme.pixmap("emergence-lab", self._context.theme.colors.text, 56))
        box.setText(f"Emergence Lab {__version__}")
        words = tr("What happens to a model's abilities as it grows?")
        licence = tr("Apache licence 2.0. Nothing leaves this machine.")
        box.setInformativeText(f"{words}\n\n{licence}")
        box.exec()
        box.deleteLater()

    def export(self, figure: str, options: dict[str, object]) -> None:
        """Ask how to write a figure of the chosen study, and write it."""
        from lab_app.dialogs.export import ExportDialog

        dialog = ExportDialog(self._context, figure, options, self._window)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _may_be_run(self, spec: StudySpec) -> bool:
        """Say above the page that an imported study holds results only."""
        try:
            refuse_imported(spec)
        except KnownError as error:
            self._window.show_error(error)
            return False
        return True

    def _copied(self, text: str) -> None:
        QGuiApplication.clipboard().setText(text)
        self._window.status.showMessage(tr("Copied."), 3000)

    def _write(self, write: Callable[[], object]) -> bool:
        """Write a file the user chose; what goes wrong is said above the page."""
        try:
            write()
        except OSError as error:
            reason = error.strerror or str(error)
            self._window.show_error(
                KnownError(tr("{path} cannot be written: {why}.", path=error.filename or "", why=reason))
            )
            return False
        except KnownError as error:
            self._window.show_error(error)
            return False
        return True


def _save(path: Path, spec: StudySpec) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_toml(to_toml_table(spec)), encoding="utf-8")
