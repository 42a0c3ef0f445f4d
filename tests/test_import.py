"""What is imported when: the top level and the command's help stay light, prediction never needs TensorFlow."""

import subprocess
import sys

import pytest

HEAVY = ("numpy", "cv2", "pydicom", "tensorflow", "keras", "pandas", "sklearn", "matplotlib", "albumentations", "lime",
         "h5py", "ai_edge_litert")  # fmt: skip


def _loaded(repo, code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('LOADED', *sorted(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=repo)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import covidcx",
        "import covidcx.cli",
        "from covidcx.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from covidcx.cli import main\ntry: main(['train', '--help'])\nexcept SystemExit: pass",
        "import covidcx.training.recipes, covidcx.edge",
    ],
    ids=["package", "cli", "help", "train-help", "rooms"],
)
def test_light_imports_load_nothing_heavy(repo, code):
    assert _loaded(repo, code) == set()


@pytest.mark.parametrize(
    "code",
    [
        "from covidcx import load, read, Finding, Radiograph",
        "import covidcx.bundle, covidcx.imaging, covidcx.edge.runtime, covidcx.edge.predict, covidcx.edge.demo",
        "from covidcx.data.phantom import write_phantom",
    ],
    ids=["public-names", "edge", "phantom"],
)
def test_the_units_side_needs_no_training_package(repo, code):
    assert _loaded(repo, code) <= {"numpy", "cv2", "pydicom", "ai_edge_litert"}


def test_a_papers_items_are_listed_without_keras(repo):
    code = "from covidcx.papers import get, names\nassert all(get(name).items for name in names())"
    assert not {"keras", "tensorflow", "lime"} & _loaded(repo, code)


def test_unknown_public_name_is_an_attribute_error():
    import covidcx

    with pytest.raises(AttributeError, match="nonsense"):
        covidcx.nonsense  # noqa: B018


def test_package_runs_as_a_module(repo):
    done = subprocess.run([sys.executable, "-m", "covidcx", "--version"], capture_output=True, text=True, cwd=repo)
    assert done.returncode == 0 and done.stdout.startswith("covidcx ")
