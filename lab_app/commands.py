"""Every command of the window, once: menus, toolbar, palette and help are made from this table."""

from dataclasses import dataclass

from engine.i18n import mark

MENUS = {
    "file": mark("&File"),
    "edit": mark("&Edit"),
    "view": mark("&View"),
    "run": mark("&Run"),
    "analyze": mark("&Analyze"),
    "tools": mark("&Tools"),
    "window": mark("&Window"),
    "help": mark("&Help"),
}


@dataclass(frozen=True, slots=True)
class Action:
    """One command. ``id`` names the method of ``Deeds`` that does it; ``line`` puts a line above it in the menu."""

    id: str
    title: str
    tip: str
    menu: str
    shortcut: str = ""
    icon: str = ""
    checkable: bool = False
    toolbar: bool = False
    line: bool = False


ACTIONS: tuple[Action, ...] = (
    Action(
        "new_study",
        mark("New study"),
        mark("Ask a question of a ladder of models"),
        "file",
        "Ctrl+N",
        "new",
        toolbar=True,
    ),
    Action("open_study", mark("Open study file…"), mark("Edit a study from a TOML file"), "file", "Ctrl+O", "open"),
    Action(
        "duplicate_study",
        mark("Duplicate study"),
        mark("Edit a copy of the chosen study"),
        "file",
        "Ctrl+D",
        "duplicate",
    ),
    Action(
        "save_study", mark("Save study as…"), mark("Write the chosen study to a TOML file"), "file", "Ctrl+S", "save"
    ),
    Action(
        "import_results",
        mark("Import…"),
        mark("Bring in a study bundle, an adapter, or results: tables, lm-eval, TensorBoard"),
        "file",
        "Ctrl+I",
        "import",
        line=True,
    ),
    Action(
        "own_data",
        mark("Use your own data…"),
        mark("Choose a folder of text, tables, images or sound, and see what is in it"),
        "file",
        "Ctrl+Shift+D",
        "data",
    ),
    Action(
        "export_figure",
        mark("Export figure…"),
        mark("Write the figure in view as SVG, PDF, PNG or CSV"),
        "file",
        "Ctrl+E",
        "export",
        toolbar=True,
    ),
    Action(
        "export_results",
        mark("Export results…"),
        mark("Write the chosen study's results as CSV or Parquet"),
        "file",
        "Ctrl+Shift+E",
        "table",
    ),
    Action(
        "export_study",
        mark("Export study or model…"),
        mark("A bundle, a model folder, ONNX, TensorBoard, tables, tasks for the harness"),
        "file",
        "Ctrl+Alt+E",
        "export",
    ),
    Action(
        "settings", mark("Settings…"), mark("Language, appearance and folders"), "file", "Ctrl+,", "settings", line=True
    ),
    Action(
        "quit",
        mark("Quit"),
        mark("Close the window; runs are saved and can be resumed"),
        "file",
        "Ctrl+Q",
        "quit",
        line=True,
    ),
    Action(
        "undo",
        mark("Undo"),
        mark("Take back the last change of a name, note, tag or the trash"),
        "edit",
        "Ctrl+Z",
        "undo",
    ),
    Action("redo", mark("Redo"), mark("Do it again"), "edit", "Ctrl+Shift+Z", "redo"),
    Action(
        "rename_study",
        mark("Rename study…"),
        mark("Give the chosen study another title"),
        "edit",
        "F2",
        "edit",
        line=True,
    ),
    Action("edit_notes", mark("Notes and tags"), mark("Write notes on the chosen study"), "edit", "Ctrl+T", "note"),
    Action(
        "trash_study",
        mark("Move study to trash"),
        mark("Take the chosen study out of the list; nothing is deleted"),
        "edit",
        "Ctrl+Backspace",
        "trash",
    ),
    Action("open_trash", mark("Restore from trash…"), mark("Bring a study back"), "edit", "", "retry"),
    Action(
        "copy_command",
        mark("Copy headless command"),
        mark("The command line that repeats the chosen study"),
        "edit",
        "Ctrl+Shift+C",
        "command",
        line=True,
    ),
    Action(
        "search_runs",
        mark("Search runs"),
        mark("Find studies and runs by a regular expression"),
        "edit",
        "Ctrl+K",
        "search",
        toolbar=True,
    ),
    Action(
        "full_screen",
        mark("Full screen"),
        mark("Only the page, for showing"),
        "view",
        "F11",
        "fullscreen",
        checkable=True,
        line=True,
    ),
    Action(
        "reset_layout", mark("Reset layout"), mark("Put all panels back where they were at first"), "view", "", "layout"
    ),
    Action(
        "start", mark("Start or resume"), mark("Go on with the chosen study or run"), "run", "F5", "start", toolbar=True
    ),
    Action(
        "pause",
        mark("Pause"),
        mark("Hold the chosen runs at their next step, in memory"),
        "run",
        "F6",
        "pause",
        toolbar=True,
    ),
    Action("cancel", mark("Cancel…"), mark("End the chosen runs for good"), "run", "Shift+F5", "cancel", toolbar=True),
    Action("pause_all", mark("Pause all"), mark("Hold everything that runs"), "run", "Ctrl+F6", "", line=True),
    Action(
        "resume_all",
        mark("Resume all"),
        mark("Go on with everything that is paused or interrupted"),
        "run",
        "Ctrl+F5",
        "resume",
    ),
    Action(
        "compress",
        mark("Compress…"),
        mark("Make smaller models of the chosen study or run, and measure what that costs"),
        "run",
        "Ctrl+Shift+M",
        "compression",
        line=True,
    ),
    Action(
        "show_loss",
        mark("Loss against parameters"),
        mark("The scaling law of the chosen study"),
        "analyze",
        "Ctrl+L",
        "scale",
    ),
    Action(
        "show_capability",
        mark("Capability against parameters"),
        mark("The study's abilities by size"),
        "analyze",
        "Ctrl+Shift+L",
        "chart",
    ),
    Action(
        "show_emergence",
        mark("Test for emergence"),
        mark("Whether an ability of the chosen study appears suddenly, and whether the metric makes it"),
        "analyze",
        "Ctrl+J",
        "emergence",
    ),
    Action(
        "evaluate",
        mark("Evaluate…"),
        mark("Measure abilities on runs that are finished"),
        "analyze",
        "Ctrl+Alt+M",
        "ruler",
    ),
    Action(
        "switch_convention",
        mark("Switch parameter convention"),
        mark("Count parameters with or without embeddings"),
        "analyze",
        "Ctrl+B",
        "",
    ),
    Action(
        "export_curves",
        mark("Export loss curves…"),
        mark("Write the training curves of the chosen study"),
        "analyze",
        "",
        "monitor",
    ),
    Action("palette", mark("All actions…"), mark("Find any action by its name"), "tools", "Ctrl+Shift+P", "command"),
    Action(
        "open_home",
        mark("Open data folder"),
        mark("The folder with all studies, weights and figures"),
        "tools",
        "",
        "folder",
        line=True,
    ),
    Action(
        "copy_diagnostics",
        mark("Copy diagnostics"),
        mark("Versions and the end of the log, for a report"),
        "tools",
        "",
        "copy",
    ),
    Action("help", mark("Help"), mark("The guide, and all actions with their keys"), "help", "F1", "help"),
    Action("about", mark("About Emergence Lab"), mark("Version and licence"), "help", "", "info"),
)
