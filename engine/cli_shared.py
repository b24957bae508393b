"""What the verbs share: their common options, the home they read, and one document printed or shown."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from engine.errors import ResourceError
from engine.i18n import tr

if TYPE_CHECKING:
    from engine.store import Reader

StudyId = Annotated[str, typer.Argument(metavar="STUDY_ID", help="The id that run printed.")]
RunId = Annotated[int, typer.Argument(metavar="RUN_ID", help="The number of a run, as runs lists it.")]
Home = Annotated[Path | None, typer.Option("--home", help="Where results are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the study.")]
Out = Annotated[Path, typer.Option("--out", help="The file or folder to write.")]


def home_of(home: Path | None) -> Path:
    """The home that was given, or the usual one."""
    from engine.lab import default_home

    return (home or default_home()).expanduser()


@contextmanager
def reading(home: Path | None) -> Iterator["Reader"]:
    """The reader of a home without taking its lock, so that it works beside an open window."""
    from engine.store import Store

    store = Store.open(home_of(home), read_only=True)
    try:
        yield store.reader()
    finally:
        store.close()


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """What the system says while ``out`` is written, as one sentence."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            tr("{path} cannot be written: {why}.", path=str(out), why=error.strerror or str(error))
        ) from None


def print_document(document: object, as_json: bool, human: Callable[[Console], None]) -> None:
    """The document as JSON on standard output, or as ``human`` shows it."""
    if as_json:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
    else:
        human(Console())
