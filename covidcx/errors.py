"""The errors covidcx raises: what was wrong, the value received, and what to do about it."""

import difflib
from collections.abc import Iterable


class CovidcxError(Exception):
    """Root of every error covidcx raises on purpose; the command line shows it as one line and exits with 2."""


class ImageError(CovidcxError):
    """A file cannot become a radiograph."""


class UnreadableImageError(ImageError):
    """The bytes are damaged, truncated or not an image at all."""


class UnsupportedImageError(ImageError):
    """A sound file that is no single-frame greyscale radiograph covidcx accepts (wrong modality, size, projection)."""


class ManifestError(CovidcxError):
    """A table of studies does not follow the manifest schema."""


class MissingDataError(CovidcxError):
    """A table of studies lacks the rows or columns that a result needs."""


class BundleError(CovidcxError):
    """A trained model's folder is missing, incomplete or altered."""


class WeightsError(CovidcxError):
    """A weights file does not fit the model that is to be filled from it."""


class RecipeError(CovidcxError):
    """A training recipe is unknown or was given a setting it cannot take."""


class ExplainError(CovidcxError):
    """An explanation was asked for that the model or image cannot give."""


class ServingError(CovidcxError):
    """A model server cannot be started, does not answer, or answers with an error."""


class ServerUnreachableError(ServingError):
    """A model server did not answer; asking again may help."""


class MissingDependencyError(CovidcxError):
    """An optional package is not installed; the message carries the command that installs it."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return `` Did you mean 'x'? Known: a, b.`` for an unknown name.

    Args:
        name: what was received.
        options: the names that exist.

    Returns:
        A sentence that starts with a space, ready to be appended to an error message.
    """
    known = sorted(options)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} Known: {', '.join(known)}."
