"""The registry of data sets; every adapter is tested by `sources/test_source_conformance.py`."""

import os
import subprocess
import sys

import pytest

import covidcx.data
from covidcx.cli import main
from covidcx.data import sources
from covidcx.errors import ManifestError


def test_shared_folder_reads_as_a_source(shared_data):
    frame = sources.read("manifest", shared_data).manifest.frame
    assert frame.groupby("split").size().to_dict() == {
        "control": 48, "pediatric": 795, "test": 382, "train": 1373, "val": 202
    }  # fmt: skip


def test_unknown_source_is_refused_with_the_near_one(tmp_path):
    with pytest.raises(ManifestError, match="Did you mean 'manifest'"):
        sources.read("manfest", tmp_path)
    with pytest.raises(ManifestError, match="Did you mean 'chexpert'"):
        sources.info("chexprt")


def test_unknown_option_is_refused_with_the_near_one(tmp_path):
    assert sources.options("chexpert") == ("uncertain", "cap")
    with pytest.raises(ManifestError, match=r"'unsure'.*Known: cap, uncertain"):
        sources.read("chexpert", tmp_path, unsure="ones")
    with pytest.raises(ManifestError, match="It has no options"):
        sources.read("hannover", tmp_path, cap="x")


def test_registry_lists_every_data_set_of_the_plan():
    assert set(sources.names()) >= {
        "armiro", "cohen", "nih", "chexpert", "rsna", "siim", "kermany", "vindr", "actualmed", "figure1", "hannover",
        "covidx", "bimcv", "padchest", "ricord", "covid_radiography", "covid_qu_ex", "montgomery", "shenzhen", "jsrt",
        "v7",
    }  # fmt: skip
    assert list(sources.names()) == sorted(sources.names())


def test_sources_command_lists_all_and_shows_one(capsys):
    assert main(["data", "sources"]) == 0
    shown = capsys.readouterr().out
    for name in sources.names():
        assert f"\n{name} " in shown
    assert "112,120" in shown
    assert "CC BY-NC 4.0" in shown
    assert main(["data", "sources", "vindr"]) == 0
    shown = capsys.readouterr().out
    assert "options: readers, cap" in shown
    assert "annotations/annotations_train.csv" in shown
    assert main(["data", "sources", "vinder"]) == 2
    assert "Did you mean 'vindr'" in capsys.readouterr().err


def test_every_public_name_of_the_room_exists():
    for name in covidcx.data.__all__:
        assert callable(getattr(covidcx.data, name)), name
    with pytest.raises(AttributeError):
        _ = covidcx.data.nothing


def test_room_and_sources_import_without_pandas_and_tensorflow(repo):
    program = (
        "import sys, covidcx.data, covidcx.data.sources, covidcx.data.store\n"
        "heavy = {'pandas', 'tensorflow', 'keras', 'albumentations', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import covidcx.data.manifest, covidcx.data.cache, covidcx.data.pipeline, covidcx.data.splits\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
        "sys.modules['pandas'] = None\n"
        "del sys.modules['covidcx.data.manifest']\n"
        "import covidcx.errors\n"
        "try:\n"
        "    import covidcx.data.manifest\n"
        "except covidcx.errors.MissingDependencyError as error:\n"
        "    assert \"pip install 'covidcx[train]'\" in str(error)\n"
        "else:\n"
        "    raise AssertionError('pandas was not missed')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(repo)})
