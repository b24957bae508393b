"""One small registry, filled by discovering the modules of a package: adding a thing is adding a file."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from engine.errors import InputError
from engine.i18n import tr

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one kind. Modules of ``package`` are imported on first use and register themselves.

    Module names that begin with an underscore, and ``base``, are helpers and are not expected to register.
    """

    def __init__(self, what: str, package: str, base: type) -> None:
        self.what = what
        self.package = package
        self.base = base
        self._items: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: keep one instance of the class under ``name``."""

        def keep(cls: type[T]) -> type[T]:
            if not issubclass(cls, self.base):
                raise TypeError(f"{cls.__name__} is registered as a {self.what} but is no {self.base.__name__}")
            if name in self._items:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            self._items[name] = cls()
            return cls

        return keep

    def __getitem__(self, name: str) -> T:
        self._discover()
        try:
            return self._items[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._items, n=1)
            hint = tr("Did you mean {name!r}?", name=near[0]) if near else ""
            known = ", ".join(sorted(self._items))
            raise InputError(
                tr(
                    "unknown {what} {name!r} (there are: {known}).",
                    what=tr(self.what),
                    name=name,
                    known=known,
                ),
                hint,
            ) from None

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._items))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._items

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_") and module.name != "base":
                importlib.import_module(f"{self.package}.{module.name}")
        self._discovered = True
