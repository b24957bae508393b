"""Failures that are expected, each one sentence and a remedy; anything else that is raised is a bug."""


class KnownError(Exception):
    """An expected failure. ``message`` is one sentence for the user, ``remedy`` what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def __reduce__(self) -> tuple[type["KnownError"], tuple[str, str]]:
        # Errors cross from worker processes; the default would lose the remedy.
        return type(self), (self.message, self.remedy)


class InputError(KnownError):
    """What the user gave cannot be used: a file, a field, a value. Exit code 2 headless."""


class StudyError(InputError):
    """A study file is wrong; the message begins with the path of the field at fault."""


class ResourceError(KnownError):
    """The machine cannot do it now: disk full, memory, a folder that is read-only, a home in use."""


class TrainingError(KnownError):
    """A run cannot go on: the loss is not finite, the data ended, weights do not fit the model."""
