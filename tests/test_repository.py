"""What holds for the repository as a whole: names, imports, and that everything is documented in both languages."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from engine import study as study_module
from engine.i18n import LANGUAGES
from engine.study import builtin_studies
from tests.packaging.scripts import load

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "resources" / "guide"
TOP_LEVEL = {
    *("lab_app", "engine", "resources", "tests", "packaging", "main.py", "pyproject.toml"),
    *("README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
    *(".ci", ".gitignore", ".pre-commit-config.yaml"),
}
READMES = ("README.md", "README.zh-CN.md")


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def page(language: str, name: str) -> str:
    return (GUIDE / language / f"{name}.md").read_text(encoding="utf-8")


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    return done.stdout.split("\n")[:-1]


def test_the_top_level_holds_the_agreed_names_only() -> None:
    assert {name.split("/")[0] for name in tracked()} <= TOP_LEVEL


def test_only_the_app_imports_qt() -> None:
    for path in [ROOT / "main.py", *(ROOT / "engine").rglob("*.py"), *(ROOT / "packaging").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.split(".")[0] for name in names} & {"PySide6", "pyqtgraph", "qasync"}
            assert not found, f"{path} imports {found}"


def test_nothing_is_unpickled_and_no_code_of_others_is_run() -> None:
    """``pickle`` is not imported, ``torch.load`` reads weights only, and no folder's own code is trusted."""
    for path in [ROOT / "main.py", *(ROOT / "engine").rglob("*.py"), *(ROOT / "lab_app").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found = {name.split(".")[0] for name in names} & {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
            assert not found, f"{path} imports {found}"
            if isinstance(node, ast.Call):
                given = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
                assert not given.get("trust_remote_code"), f"{path}:{node.lineno} trusts code of others"
                assert not given.get("allow_pickle"), f"{path}:{node.lineno} unpickles"
                if ast.unparse(node.func) in ("torch.load", "torch.jit.load"):
                    assert given.get("weights_only") is True, f"{path}:{node.lineno} loads more than weights"


@pytest.mark.parametrize("module", ["engine.runner", "engine.lab", "engine.cli", "engine.expand"])
def test_the_engine_starts_without_qt_and_without_torch(module: str) -> None:
    loaded = python(f"import sys, {module}; print(*sorted(m.split('.')[0] for m in sys.modules))").split()
    assert {"PySide6", "pyqtgraph", "qasync", "lab_app", "torch"} & set(loaded) == set()


def test_every_page_is_there_in_both_languages_and_its_links_lead_somewhere() -> None:
    pages = {language: {p.name for p in (GUIDE / language).glob("*.md")} for language in LANGUAGES}
    assert pages["en"] == pages["zh_CN"] != set()
    documents = [*GUIDE.rglob("*.md"), *(ROOT / name for name in (*READMES, "CONTRIBUTING.md"))]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_family_source_and_capability_has_its_heading_and_its_fields(language: str) -> None:
    from engine.capabilities import capabilities
    from engine.families import families
    from engine.sources import sources

    for name, registry in (("families", families), ("sources", sources), ("capabilities", capabilities)):
        text = page(language, name)
        for item in registry:
            assert f"\n## `{item}`\n" in text, f"{language}/{name}.md says nothing of {item}"
            fields = () if name == "capabilities" else msgspec.structs.fields(registry[item].Spec)
            for field in fields:
                assert f"`{field.encode_name}`" in text, f"{language}/{name}.md: field {field.name} of {item}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_field_of_a_study_and_every_built_in_study_is_documented(language: str) -> None:
    text = page(language, "studies")
    parts = ("StudySpec", "LadderSpec", "TrainingSpec", "ExecutionSpec", "CapabilityUse", "Headline", "Budget")
    for part in parts:
        for field in msgspec.structs.fields(getattr(study_module, part)):
            assert f"`{field.name}`" in text, f"{part}.{field.name}"
    for path in builtin_studies():
        assert f"`{path.stem}`" in text and f"`{path.stem}`" in page(language, "quickstart")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_verb_is_documented(language: str) -> None:
    from engine.cli import app

    text = page(language, "verbs")
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"`{command.name or command.callback.__name__}" in text
    for group in app.registered_groups:
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert f"`{group.name} {command.name}" in text, f"{group.name} {command.name}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_table_and_column_of_the_store_is_documented(language: str) -> None:
    import sqlite3

    from engine.store import schema

    text = page(language, "store")
    connection = sqlite3.connect(":memory:")
    schema.apply(connection)
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '[_s]*_*'"
    for (table,) in connection.execute(query).fetchall():
        row = next((line for line in text.split("\n") if line.startswith(f"| `{table}` |")), "")
        for column in connection.execute(f"PRAGMA table_info({table})").fetchall():
            assert re.search(rf"\b{column[1]}\b", row), f"{table}.{column[1]}"
    connection.close()


@pytest.mark.parametrize("readme", READMES)
def test_the_commands_of_the_readme_exist(readme: str) -> None:
    from engine.cli import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    verbs |= {group.name for group in app.registered_groups if group.name}
    text = (ROOT / readme).read_text(encoding="utf-8")
    assert set(re.findall(r"python3 main\.py ([a-z]+)", text)) <= verbs
    scripts = set(re.findall(r"python3 (packaging/\w+\.py)", text))
    assert "packaging/bootstrap.py" in scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_the_readme_names_the_libraries_that_the_app_asks_for() -> None:
    from lab_app.preflight import ALWAYS, WINDOW

    for readme in READMES:
        text = (ROOT / readme).read_text(encoding="utf-8")
        assert [package for package in {**ALWAYS, **WINDOW}.values() if package not in text] == []


def test_the_catalogue_is_complete_and_compiled() -> None:
    pytest.importorskip("babel")
    assert load("i18n").problems() == []


def test_a_verb_is_told_from_the_window() -> None:
    from main import is_headless

    assert is_headless(["run", "quickstart"]) and is_headless(["--help"])
    assert not is_headless([]) and not is_headless(["--home", "somewhere"])


def test_an_unknown_verb_is_one_sentence_and_exit_code_2() -> None:
    command = [sys.executable, "main.py", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_bundled_font_draws_chinese_and_comes_with_its_licence() -> None:
    from fontTools.ttLib import TTFont

    with TTFont(ROOT / "resources" / "fonts" / "NotoSansSC-Regular.ttf") as font:
        letters = font.getBestCmap()
    chinese = {c for p in (GUIDE / "zh_CN").glob("*.md") for c in p.read_text(encoding="utf-8") if "一" <= c <= "鿿"}
    assert [c for c in sorted(chinese) if ord(c) not in letters] == []
    assert "SIL OPEN FONT LICENSE" in (ROOT / "resources" / "fonts" / "OFL.txt").read_text(encoding="utf-8")


def test_no_test_has_left_a_family_source_or_capability_behind() -> None:
    from engine.capabilities import capabilities
    from engine.families import families
    from engine.sources import sources

    for registry in (families, sources, capabilities):
        assert {type(registry[name]).__module__.split(".")[0] for name in registry} == {"engine"}
