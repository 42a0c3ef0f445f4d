"""`examine`: what of covidcx works on this machine, what is missing, and the command that mends it.

Nothing heavy is imported: versions come from the packages' metadata, TensorFlow and JAX are only asked when `deep` is
set, and then in a process of their own. It must run where nothing else does, so every import of ours is late.
"""

import contextlib
import json
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from covidcx import __version__
from covidcx.errors import CovidcxError, MissingDependencyError
from covidcx.requirements import (
    PACKAGE,
    Requirement,
    base,
    declared,
    installed,
    lacking,
    pip_install,
    satisfies,
)

log = logging.getLogger(__name__)

# `broken` alone makes the command fail: something the base install needs, or that was asked for. `missing` is optional.
STATES = ("ok", "note", "missing", "broken")
MODEL_FILE = "model.tflite"
REFERENCES = ("segmenter", "gate")
ENOUGH_DISK = 2 * 2**30
ENOUGH_MEMORY = 2**30
DEEP_TIMEOUT = 300

_IMPORTS = {"numpy": "numpy", "opencv-python-headless": "cv2", "pydicom": "pydicom"}
_CODECS = (
    ("uncompressed, implicit", "1.2.840.10008.1.2"),
    ("uncompressed, explicit", "1.2.840.10008.1.2.1"),
    ("deflated", "1.2.840.10008.1.2.1.99"),
    ("uncompressed, big endian", "1.2.840.10008.1.2.2"),
    ("RLE", "1.2.840.10008.1.2.5"),
    ("JPEG baseline", "1.2.840.10008.1.2.4.50"),
    ("JPEG extended", "1.2.840.10008.1.2.4.51"),
    ("JPEG lossless", "1.2.840.10008.1.2.4.57"),
    ("JPEG lossless SV1", "1.2.840.10008.1.2.4.70"),
    ("JPEG-LS lossless", "1.2.840.10008.1.2.4.80"),
    ("JPEG-LS near-lossless", "1.2.840.10008.1.2.4.81"),
    ("JPEG 2000 lossless", "1.2.840.10008.1.2.4.90"),
    ("JPEG 2000", "1.2.840.10008.1.2.4.91"),
)
_CODEC_PACKAGES = {
    "1.2.840.10008.1.2.5": ("pylibjpeg", "pylibjpeg-rle"),
    "1.2.840.10008.1.2.4.80": ("pyjpegls",),
    "1.2.840.10008.1.2.4.81": ("pyjpegls",),
    "1.2.840.10008.1.2.4.90": ("pylibjpeg", "pylibjpeg-openjpeg"),
    "1.2.840.10008.1.2.4.91": ("pylibjpeg", "pylibjpeg-openjpeg"),
}
# What `covidcx.imaging.dicom` decodes these with, and nothing else.
_READERS = {
    "1.2.840.10008.1.2.4.80": "pyjpegls", "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg", "1.2.840.10008.1.2.4.91": "pylibjpeg", "1.2.840.10008.1.2.5": "pylibjpeg",
}  # fmt: skip
_DEEP = {
    "tensorflow": "import tensorflow as f; d = [x.name for x in f.config.list_physical_devices('GPU')]",
    "jax": "import jax as f; d = [str(x) for x in f.devices() if x.platform != 'cpu']",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        section: versions, codecs, extras, accelerator, bundles, data or machine.
        name: what was looked at.
        state: one of `STATES`.
        value: what was found, in a line.
        remedy: the command that mends it, or None.
    """

    section: str
    name: str
    state: str
    value: str
    remedy: str | None = None


@dataclass(frozen=True)
class Report:
    """Everything that was looked at, in the order in which it is shown."""

    checks: tuple[Check, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing that is needed is broken."""
        return not any(check.state == "broken" for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON-ready dictionary."""
        return {"covidcx": __version__, "sound": self.sound, "checks": [asdict(check) for check in self.checks]}


def examine(data: str | Path | None = None, deep: bool = False) -> Report:
    """Look at the installation, the bundles, the data paths and the machine.

    Args:
        data: a manifest whose problems are counted, or None.
        deep: also import TensorFlow and JAX, in processes of their own, to list accelerators; takes seconds.

    Returns:
        The report; nothing that is wrong with the installation raises.
    """
    python, requirements = declared()
    sections = (
        _versions(python, requirements), _codecs(requirements), _extras(requirements), _accelerator(requirements, deep),
        _bundles(requirements), _data(data, requirements), _machine(),
    )  # fmt: skip
    return Report(tuple(check for section in sections for check in section))


def _versions(python: str, requirements: list[Requirement]) -> Iterator[Check]:
    version = platform.python_version()
    fits = satisfies(version, python)
    remedy = None if fits else f"make PYTHON=python3.12 demo  # any Python {python}"
    yield Check("versions", "Python", "ok" if fits else "broken", f"{version}  needs {python or 'any'}", remedy)
    yield Check("versions", PACKAGE, "ok", f"{__version__}  in {Path(__file__).resolve().parent}")
    if not requirements:
        text = "neither installed metadata nor pyproject.toml was found: ranges are unknown"
        yield Check("versions", "metadata", "note", text, "pip install .  # in the checkout of covidcx")
    for requirement in base(requirements):
        yield _version(requirement)


def _version(requirement: Requirement) -> Check:
    version, wanted = installed(requirement.name), requirement.range or "any"
    mend = pip_install([requirement])
    if version is None:
        return Check("versions", requirement.name, "broken", f"not installed  needs {wanted}", mend)
    if not satisfies(version, requirement.range):
        return Check("versions", requirement.name, "broken", f"{version}  needs {wanted}", mend)
    module = _IMPORTS.get(requirement.name)
    try:
        if module is not None:
            import_module(module)
    except ImportError as error:
        text = f"{version}, but it cannot be imported: {error}"
        return Check("versions", requirement.name, "broken", text, f"{mend} --force-reinstall")
    return Check("versions", requirement.name, "ok", f"{version}  needs {wanted}")


def _codecs(requirements: list[Requirement]) -> Iterator[Check]:
    """Ask pydicom's decoders which transfer syntaxes can be read here."""
    try:
        from pydicom.pixels import get_decoder
        from pydicom.uid import UID
    except ImportError as error:
        yield Check("codecs", "DICOM", "broken", f"pydicom cannot be imported: {error}", pip_install(["pydicom"]))
        return
    for name, uid in _CODECS:
        try:
            decoder = get_decoder(UID(uid))
            readable, plugins = decoder.is_available, decoder.available_plugins
        except NotImplementedError:
            readable, plugins = False, ()
        if _READERS.get(uid, plugins) != plugins:
            # The reader leaves these to one decoder; the others do not count.
            plugins = tuple(plugin for plugin in plugins if plugin == _READERS[uid])
            readable = bool(plugins)
        if readable:
            yield Check("codecs", name, "ok", f"{uid}  by {', '.join(plugins) or 'pydicom itself'}")
            continue
        ranges = {requirement.name: requirement for requirement in base(requirements)}
        wanted = [ranges.get(part, part) for part in _CODEC_PACKAGES.get(uid, ("python-gdcm",))]
        yield Check("codecs", name, "broken", f"{uid}  no decoder", pip_install(wanted))


def _extras(requirements: list[Requirement]) -> Iterator[Check]:
    for extra in dict.fromkeys(requirement.extra for requirement in requirements if requirement.extra):
        wanted = lacking(extra, requirements)
        if wanted:
            names = ", ".join(requirement.name for requirement in wanted)
            yield Check("extras", extra, "missing", f"lacks {names}", pip_install(wanted))
        else:
            yield Check("extras", extra, "ok", "complete")


def _accelerator(requirements: list[Requirement], deep: bool) -> Iterator[Check]:
    present = [name for name in _DEEP if installed(name) is not None]
    driver = shutil.which("nvidia-smi")
    yield Check("accelerator", "NVIDIA driver", "ok" if driver else "note", driver or "none: computed on the CPU")
    if not deep:
        text = "not asked, it would take seconds; to ask:" if present else "neither TensorFlow nor JAX is installed"
        yield Check("accelerator", "GPUs", "note", text, "covidcx doctor --deep" if present else None)
        return
    for name in present:
        devices, problem = _ask(name)
        if problem:
            mend = f"{pip_install([name])} --force-reinstall"
            yield Check("accelerator", name, "missing", f"does not start: {problem}", mend)
        elif devices:
            yield Check("accelerator", name, "ok", ", ".join(devices))
        elif driver:
            wanted = lacking("gpu", requirements) or [r for r in requirements if r.extra == "gpu" and r.extras]
            parts = [r for r in wanted if r.name != PACKAGE] if name == "tensorflow" else ["jax[cuda12]"]
            yield Check("accelerator", name, "missing", "a driver is there but no GPU is seen", pip_install(parts))
        else:
            yield Check("accelerator", name, "note", "no GPU: computed on the CPU")
    if not present:
        yield Check("accelerator", "GPUs", "note", "neither TensorFlow nor JAX is installed")


def _ask(name: str) -> tuple[list[str], str | None]:
    """Import a framework in a process of its own, since a bad driver can end the whole process."""
    code = f"{_DEEP[name]}; import json; print('devices:' + json.dumps(d))"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEEP_TIMEOUT, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], str(error)
    for line in done.stdout.splitlines():
        if line.startswith("devices:"):
            return json.loads(line.removeprefix("devices:")), None
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return [], last[:200]


def _bundles(requirements: list[Requirement]) -> Iterator[Check]:
    try:
        from covidcx.bundle import BUNDLE_FILE, search_folders
    except ImportError as error:
        yield Check("bundles", "all", "broken", f"cannot be looked at: {error}", pip_install(base(requirements)))
        return
    seen: dict[str, Path] = {}
    for folder in dict.fromkeys(folder.resolve() for folder in search_folders()):
        for entry in sorted(folder.glob(f"*/{BUNDLE_FILE}")):
            hidden = seen.setdefault(entry.parent.name, entry.parent)
            if hidden == entry.parent:
                yield from _bundle(entry.parent, requirements)
            else:
                text = f"{entry.parent} is not used: {hidden} comes first"
                yield Check("bundles", entry.parent.name, "note", text)
    if not seen:
        text = f"none in {', '.join(str(folder) for folder in search_folders())}"
        yield Check("bundles", "all", "broken", text, "git checkout -- saved_models  # in the checkout of covidcx")


def _bundle(folder: Path, requirements: list[Requirement]) -> Iterator[Check]:
    """Verify one bundle's checksums, the bundles it names, and that its network runs."""
    from covidcx.bundle import Bundle
    from covidcx.edge.lite import LiteModel

    try:
        bundle = Bundle.open(folder)
    except CovidcxError as error:
        yield Check("bundles", folder.name, "broken", str(error), _restore(folder))
        return
    text = f"{len(bundle.files)} files verified, checksum {bundle.checksum[:12]}  in {folder}"
    yield Check("bundles", folder.name, "ok", text)
    for role in REFERENCES:
        other = getattr(bundle, role, None)
        if other is None:
            continue
        try:
            opened = getattr(bundle, f"open_{role}")()
            yield Check("bundles", f"{folder.name} {role}", "ok", f"{opened.name}  in {opened.folder}")
        except CovidcxError as error:
            yield Check("bundles", f"{folder.name} {role}", "broken", str(error), _restore(folder.parent / other))
    if MODEL_FILE not in bundle.files:
        yield Check("bundles", f"{folder.name} runs", "note", f"no {MODEL_FILE}: used from Keras only")
        return
    try:
        model = LiteModel(bundle.path(MODEL_FILE))
    except MissingDependencyError as error:
        lite = [r for r in base(requirements) if "litert" in r.name] or ["ai-edge-litert"]
        yield Check("bundles", f"{folder.name} runs", "broken", str(error), pip_install(lite))
    except CovidcxError as error:
        yield Check("bundles", f"{folder.name} runs", "broken", str(error), _restore(folder))
    else:
        shape = " x ".join(map(str, model.input_shape))
        yield Check("bundles", f"{folder.name} runs", "ok", f"{shape} to {', '.join(sorted(model.outputs))}")


def _restore(folder: Path) -> str:
    """Return the command that brings a bundle back: from a sound copy elsewhere, or from the repository."""
    from covidcx.bundle import Bundle, search_folders

    for place in search_folders():
        copy = (place / folder.name).resolve()
        if copy != folder.resolve():
            with contextlib.suppress(CovidcxError):
                Bundle.open(copy)
                here, there = shlex.quote(str(folder)), shlex.quote(str(copy))
                return f"mkdir -p {here} && cp {there}/* {here}/"
    if any((parent / ".git").exists() for parent in folder.parents):
        return f"git -C {shlex.quote(str(folder.parent))} checkout -- {shlex.quote(folder.name)}"
    return f"{pip_install(['.'])} --force-reinstall --no-deps  # in the checkout of covidcx"


def _data(data: str | Path | None, requirements: list[Requirement]) -> Iterator[Check]:
    listed = [Path(part) for part in os.environ.get("COVIDCX_BUNDLES", "").split(os.pathsep) if part]
    for folder in listed:
        there = folder.is_dir()
        remedy = None if there else f"export COVIDCX_BUNDLES=FOLDER  # {folder} does not exist"
        text = f"{folder}" if there else f"{folder} is no folder"
        yield Check("data", "COVIDCX_BUNDLES", "ok" if there else "missing", text, remedy)
    if not listed:
        yield Check("data", "COVIDCX_BUNDLES", "note", "not set: bundles come from ./saved_models and the installation")
    yield _cache(os.environ.get("COVIDCX_CACHE"))
    if data is not None:
        yield _manifest(Path(data), requirements)


def _cache(value: str | None) -> Check:
    if not value:
        return Check("data", "COVIDCX_CACHE", "note", "not set: prepared images go beside each run, in .prepared")
    folder = Path(value)
    # A cache is made on first use; what counts is whether it can be.
    nearest = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if nearest.is_dir() and os.access(nearest, os.W_OK):
        return Check("data", "COVIDCX_CACHE", "ok", f"{folder}{'' if folder.is_dir() else ' (made on first use)'}")
    return Check("data", "COVIDCX_CACHE", "missing", f"{folder} cannot be written",
                 f"export COVIDCX_CACHE=FOLDER  # {nearest} is no folder you may write to")  # fmt: skip


def _manifest(path: Path, requirements: list[Requirement]) -> Check:
    try:
        from covidcx.data.manifest import Manifest
    except (ImportError, MissingDependencyError) as error:
        wanted = [r for r in requirements if r.name == "pandas" and r.extra] or ["pandas"]
        return Check("data", "manifest", "missing", f"{path} was not checked: {error}", pip_install(wanted[:1]))
    try:
        manifest = Manifest.read(path)
        problems = manifest.problems()
    except CovidcxError as error:
        return Check("data", "manifest", "broken", str(error), "covidcx data phantom --out phantom  # a sound example")
    if problems:
        text = f"{path}: {len(problems)} problems in {len(manifest)} rows; {problems[0]}"
        return Check("data", "manifest", "broken", text, f"covidcx data validate {shlex.quote(str(path))}")
    return Check("data", "manifest", "ok", f"{path}: {len(manifest)} rows, no problems")


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Check("machine", "CPU cores", "ok", f"{cores}  {platform.machine()}, {platform.system()}")
    with contextlib.suppress(AttributeError, ValueError, OSError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        state = "ok" if memory >= ENOUGH_MEMORY else "missing"
        yield Check("machine", "memory", state, f"{memory / 2**30:.1f} GiB")
    for name, folder in (("disk here", Path.cwd()), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        remedy = None if free >= ENOUGH_DISK else f"du -xh {shlex.quote(str(folder))} | sort -h | tail  # what fills it"
        state = "ok" if free >= ENOUGH_DISK else "missing"
        yield Check("machine", name, state, f"{free / 2**30:.1f} GiB free  in {folder}", remedy)
