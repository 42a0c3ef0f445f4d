"""`covidcx doctor`: it finds what was broken on purpose and names the command that mends it."""

import json
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from covidcx import doctor, requirements
from covidcx.bundle import search_folders
from covidcx.cli import main
from covidcx.doctor import examine

SHIPPED = Path(__file__).resolve().parents[1] / "saved_models"


def _found(report, section: str, name: str):
    return next(check for check in report.checks if (check.section, check.name) == (section, name))


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """The shipped bundles in a folder of their own, the only one that is searched."""
    shutil.copytree(SHIPPED, tmp_path / "models", ignore=shutil.ignore_patterns(".*"))
    monkeypatch.setenv("COVIDCX_BUNDLES", str(tmp_path / "models"))
    monkeypatch.setattr("covidcx.bundle.search_folders", lambda: (tmp_path / "models",))
    return tmp_path / "models"


@pytest.fixture
def light(monkeypatch) -> None:
    """Leaves the bundles out, which take most of the time."""
    monkeypatch.setattr(doctor, "_bundles", lambda requirements: iter(()))


def _change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_a_complete_installation_is_sound_and_the_shipped_bundles_run(copied):
    report = examine()
    assert report.sound, [check for check in report.checks if check.state == "broken"]
    assert _found(report, "bundles", "covid-cxnet segmenter").state == "ok"
    assert _found(report, "bundles", "lung-unet runs").value == "1 x 256 x 256 x 1 to lung"
    assert {check.section for check in report.checks} == {
        "versions", "codecs", "extras", "accelerator", "bundles", "data", "machine",
    }  # fmt: skip


def test_every_check_that_is_not_in_order_names_a_command_or_is_a_note(light):
    for check in examine().checks:
        assert check.state in doctor.STATES
        assert check.remedy or check.state in ("ok", "note"), check


@pytest.mark.parametrize("filename", ["model.tflite", "weights.h5", "bundle.json"])
def test_a_changed_byte_in_a_bundle_is_found_and_fails_the_command(copied, filename, capsys):
    _change_a_byte(copied / "lung-unet" / filename)
    assert main(["doctor"]) == 2
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if "lung-unet" in line and "BROKEN" in line)
    assert filename in line
    assert "BROKEN  covid-cxnet segmenter" in text, "the classifier that needs this segmenter is named too"


def test_a_broken_copy_shadowing_a_sound_bundle_is_mended_from_the_sound_one(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED / "lung-unet", tmp_path / "models" / "lung-unet")
    _change_a_byte(tmp_path / "models" / "lung-unet" / "model.tflite")
    monkeypatch.setattr("covidcx.bundle.search_folders", lambda: (tmp_path / "models", SHIPPED))
    report = examine()
    broken = _found(report, "bundles", "lung-unet")
    assert broken.state == "broken" and not report.sound
    subprocess.run(broken.remedy, shell=True, check=True)
    assert examine().sound


def test_bundles_in_covidcx_bundles_are_the_ones_looked_at(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED / "lung-unet", tmp_path / "models" / "lung-unet")
    _change_a_byte(tmp_path / "models" / "lung-unet" / "weights.h5")
    monkeypatch.setenv("COVIDCX_BUNDLES", str(tmp_path / "models"))
    assert search_folders()[0] == tmp_path / "models"
    states = [check.state for check in examine().checks if check.name == "lung-unet"]
    assert states[0] == "broken" and "note" in states, "the sound ones behind it are reported as not used"


def test_no_bundle_at_all_is_broken(tmp_path, monkeypatch):
    monkeypatch.setattr("covidcx.bundle.search_folders", lambda: (tmp_path,))
    check = _found(examine(), "bundles", "all")
    assert check.state == "broken" and str(tmp_path) in check.value and "saved_models" in check.remedy


def _without(monkeypatch, *names: str) -> None:
    true_version = metadata.version

    def version(name: str) -> str:
        if name in names:
            raise metadata.PackageNotFoundError(name)
        return true_version(name)

    monkeypatch.setattr(requirements.metadata, "version", version)


def test_a_missing_package_of_the_base_install_fails_with_the_command_that_installs_it(light, monkeypatch, capsys):
    _without(monkeypatch, "pyjpegls")
    assert main(["doctor"]) == 2
    text = capsys.readouterr().out
    assert "not installed  needs >=1.4" in text
    assert f"{sys.executable} -m pip install 'pyjpegls>=1.4'" in text


def test_a_missing_optional_package_is_named_by_each_extra_that_needs_it_and_fails_nothing(light, monkeypatch):
    _without(monkeypatch, "lime")
    report = examine()
    assert report.sound
    for extra in ("train", "gpu"):
        check = _found(report, "extras", extra)
        assert check.state == "missing" and "lime" in check.value and "'lime>=0.2.0.1'" in check.remedy
    assert _found(report, "extras", "demo").state == "ok"


def test_a_package_that_is_too_old_is_broken(light, monkeypatch):
    true_version = metadata.version
    monkeypatch.setattr(
        requirements.metadata, "version", lambda name: "2.4.4" if name == "pydicom" else true_version(name)
    )
    check = _found(examine(), "versions", "pydicom")
    assert check.state == "broken" and "2.4.4" in check.value and "'pydicom>=3.0.1'" in check.remedy


def test_a_transfer_syntax_without_decoder_is_broken_and_names_its_package(light, monkeypatch):
    import pydicom.pixels

    true_decoder = pydicom.pixels.get_decoder

    class Nothing:
        is_available = False
        available_plugins = ()

    monkeypatch.setattr(
        pydicom.pixels, "get_decoder", lambda uid: Nothing() if uid.endswith(".4.90") else true_decoder(uid)
    )
    report = examine()
    check = _found(report, "codecs", "JPEG 2000 lossless")
    assert check.state == "broken" and "pylibjpeg-openjpeg>=2.4" in check.remedy
    assert _found(report, "codecs", "JPEG 2000").state == "ok"


def test_json_holds_the_same_as_the_text_and_nothing_else_is_printed(copied, capsys):
    assert main(["doctor", "--json"]) == 0
    printed = capsys.readouterr()
    value = json.loads(printed.out)
    assert printed.err == "" and value["sound"] is True
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for check in value["checks"]:
        assert set(check) == {"section", "name", "state", "value", "remedy"}
        if check["section"] != "machine":
            assert check["name"] in text and check["value"] in text
            assert not check["remedy"] or f"$ {check['remedy']}" in text


def test_columns_of_the_text_are_aligned(light, capsys):
    main(["doctor"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ok ")]
    report = examine()
    width = max(len(check.name) for check in report.checks)
    assert len(lines) > 20 and all(line[10 + width : 12 + width] == "  " for line in lines)


def test_problems_of_a_manifest_are_counted_and_fail_the_command(light, tmp_path, capsys):
    pytest.importorskip("pandas")
    path = tmp_path / "manifest.csv"
    path.write_text("image,patient_id,label,split\nnowhere.png,p1,covid,train\n")
    assert main(["doctor", "--data", str(path)]) == 2
    text = capsys.readouterr().out
    assert "1 problems in 1 rows" in text and f"covidcx data validate {path}" in text


def test_without_pandas_a_manifest_is_left_unchecked_but_nothing_fails(light, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "covidcx.data.manifest", raising=False)
    report = examine(data=tmp_path / "manifest.csv")
    check = _found(report, "data", "manifest")
    assert report.sound and check.state == "missing" and "'pandas>=2.2'" in check.remedy


def test_paths_in_the_environment_that_do_not_exist_are_named(light, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("COVIDCX_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("COVIDCX_BUNDLES", str(tmp_path / "nowhere"))
    report = examine()
    assert _found(report, "data", "COVIDCX_CACHE").state == "missing"
    assert "nowhere" in _found(report, "data", "COVIDCX_BUNDLES").value


def test_neither_tensorflow_nor_pandas_is_imported():
    code = (
        "import sys; from covidcx.cli import main; code = main(['doctor', '--json']);"
        "heavy = {'tensorflow', 'keras', 'pandas', 'jax', 'sklearn', 'matplotlib', 'torch'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    folder = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_deep_asks_the_frameworks_in_processes_of_their_own(light, monkeypatch):
    monkeypatch.setattr(doctor, "installed", lambda name: "9.9")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(doctor, "_DEEP", {"tensorflow": "d = ['GPU:0']", "jax": "raise RuntimeError('driver too old')"})
    report = examine(deep=True)
    assert _found(report, "accelerator", "tensorflow").value == "GPU:0"
    jax = _found(report, "accelerator", "jax")
    assert jax.state == "missing" and "driver too old" in jax.value and "jax" in jax.remedy


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("3.11.7", ">=3.11,<3.14", True), ("3.14.0", ">=3.11,<3.14", False), ("2.10", ">=2.9", True),
        ("2.9", ">=2.10", False), ("5.0.0.93", ">=4.10", True), ("3.0", ">=3.0.0", True), ("1.4.2", "~=1.4.0", True),
        ("1.5", "~=1.4.0", False), ("2.20.0rc1", ">=2.20", True), ("1.2.3", "==1.2.*", True), ("1.2", "!=1.2", False),
        ("1.3", "", True),
    ],
)  # fmt: skip
def test_versions_are_compared_as_numbers(version, bounds, fits):
    assert requirements.satisfies(version, bounds) is fits


def test_requirements_are_read_with_extras_range_and_the_extra_that_asks_for_them():
    read = requirements.parse_requirement("tensorflow[and-cuda] (>=2.20,<3) ; python_version > '3' and extra == 'gpu'")
    assert (read.name, read.extras, read.range, read.extra) == ("tensorflow", ("and-cuda",), ">=2.20,<3", "gpu")
    assert str(read) == "tensorflow[and-cuda]>=2.20,<3"
