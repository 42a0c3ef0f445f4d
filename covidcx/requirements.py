"""What covidcx asks for and what is installed: requirements and versions from package metadata, nothing imported."""

import logging
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from covidcx.errors import CovidcxError

log = logging.getLogger(__name__)

PACKAGE = "covidcx"
# Builds of one library under other names: whichever is there will do.
EQUIVALENT = {
    "tensorflow": ("tensorflow-cpu", "tensorflow-intel", "tensorflow-macos", "tf-nightly"),
    "opencv-python-headless": ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python"),
}

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[([^\]]*)\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?$")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


@dataclass(frozen=True)
class Requirement:
    """A package with its range, as `pip` writes it.

    Attributes:
        name: of the package.
        extras: its extras.
        range: comma-separated version bounds; empty for any.
        extra: the extra of covidcx that asks for it, or None for the base install.
    """

    name: str
    extras: tuple[str, ...] = ()
    range: str = ""
    extra: str | None = None

    def __str__(self) -> str:
        return f"{self.name}{'[' + ','.join(self.extras) + ']' if self.extras else ''}{self.range}"


def parse_requirement(text: str) -> Requirement:
    """Read a line such as `tensorflow[and-cuda]>=2.20; extra == "gpu"`; other conditions than the extra are dropped."""
    match = _REQUIREMENT.match(text)
    if match is None:
        raise CovidcxError(f"not a requirement: {text!r}; expected such as numpy>=1.26")
    name, extras, bounds, condition = match.groups()
    extra = _EXTRA.search(condition or "")
    listed = tuple(part.strip() for part in (extras or "").split(",") if part.strip())
    return Requirement(name, listed, bounds.replace(" ", ""), extra.group(1) if extra else None)


def satisfies(version: str, bounds: str) -> bool:
    """Whether a version lies within bounds such as `>=3.11,<3.14`; compared by its release numbers only."""
    found = _release(version)
    for bound in filter(None, bounds.split(",")):
        operator, wanted = re.match(r"\s*(~=|===?|!=|<=|>=|<|>)?\s*(.*)", bound).groups()
        limit = _release(wanted.removesuffix(".*"))
        same = found[: len(limit)] == limit if wanted.endswith(".*") else _padded(found, limit) == _padded(limit, found)
        above = _padded(found, limit) > _padded(limit, found)
        holds = {
            "==": same, "===": same, None: same, "!=": not same, ">=": above or same, ">": above and not same,
            "<=": not above or same, "<": not above and not same,
            "~=": (above or same) and found[: len(limit) - 1] == limit[:-1],
        }  # fmt: skip
        if not holds[operator]:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"v?(?:\d+!)?(\d+(?:\.\d+)*)", version.strip())
    return tuple(int(part) for part in match.group(1).split(".")) if match else ()


def _padded(version: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return version + (0,) * (len(other) - len(version))


def installed(name: str) -> str | None:
    """Return the installed version of a package or of one that stands in for it, or None."""
    for candidate in (name, *EQUIVALENT.get(name, ())):
        try:
            version = metadata.version(candidate)
        except (metadata.PackageNotFoundError, KeyError):
            continue
        if version is not None:
            return version
    return None


def declared() -> tuple[str, list[Requirement]]:
    """Return the Python range and every requirement, from the installed metadata or from the checkout's own file."""
    try:
        found = metadata.metadata(PACKAGE)
        return found["Requires-Python"] or "", [parse_requirement(line) for line in metadata.requires(PACKAGE) or []]
    except metadata.PackageNotFoundError:
        pass
    path = Path(__file__).resolve().parents[1] / "pyproject.toml"
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, ValueError) as error:
        log.debug("no metadata: %s", error)
        return "", []
    lines = list(project.get("dependencies", []))
    for extra, wanted in project.get("optional-dependencies", {}).items():
        lines += [f'{line}; extra == "{extra}"' for line in wanted]
    return project.get("requires-python", ""), [parse_requirement(line) for line in lines]


def pip_install(requirements: Iterable[object]) -> str:
    """Return the command that installs packages into the Python that runs this."""
    wanted = " ".join(shlex.quote(str(requirement)) for requirement in requirements)
    return f"{shlex.quote(sys.executable)} -m pip install {wanted}"


def base(requirements: list[Requirement]) -> list[Requirement]:
    """Keep what the small install asks for."""
    return [requirement for requirement in requirements if requirement.extra is None]


def lacking(extra: str, requirements: list[Requirement]) -> list[Requirement]:
    """Return what an extra asks for and is not there, in the range it asks for."""
    found: dict[str, Requirement] = {}
    for requirement in (r for r in requirements if r.extra == extra):
        if requirement.name == PACKAGE:
            for other in requirement.extras:
                found |= {r.name: r for r in lacking(other, requirements) if other != extra}
            continue
        version = installed(requirement.name)
        if version is None or not satisfies(version, requirement.range) or not _has_extras(requirement):
            found[requirement.name] = requirement
    return list(found.values())


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _has_extras(requirement: Requirement) -> bool:
    """Whether another package's own extras, such as TensorFlow's CUDA libraries, are installed with it."""
    if not requirement.extras:
        return True
    if _version_of(requirement.name) is None:
        return False
    wanted = (parse_requirement(line) for line in metadata.requires(requirement.name) or [])
    return all(installed(part.name) is not None for part in wanted if part.extra in requirement.extras)
