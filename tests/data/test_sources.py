"""Every registered data source keeps the schema; a new source is tested by being registered."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

import covidcx.data
from covidcx.data import sources
from covidcx.data.manifest import COLUMNS, REQUIRED, Manifest
from covidcx.errors import ManifestError

ROWS = {
    "manifest": "image,patient_id,label,split\na.png,p1,covid,train\nb.png,p2,normal,test\n",
}


@pytest.mark.parametrize("name", sources.names())
def test_adapter_has_a_licence_and_refuses_an_empty_folder(name, tmp_path):
    assert import_module(sources.SOURCES[name]).LICENCE.strip()
    with pytest.raises(ManifestError):
        sources.read(name, tmp_path)


def test_manifest_folder_reads_as_a_source(tmp_path):
    (tmp_path / "manifest.csv").write_text(ROWS["manifest"])
    manifest = sources.read("manifest", tmp_path)
    assert isinstance(manifest, Manifest)
    assert set(COLUMNS) <= set(manifest.frame.columns)
    assert manifest.frame[list(REQUIRED)].notna().all().all()
    assert manifest.root == tmp_path


def test_shared_folder_reads_as_a_source(shared_data):
    frame = sources.read("manifest", shared_data).frame
    assert frame.groupby("split").size().to_dict() == {
        "control": 48, "pediatric": 795, "test": 382, "train": 1373, "val": 202
    }  # fmt: skip


def test_unknown_source_is_refused_with_the_near_one(tmp_path):
    with pytest.raises(ManifestError, match="Did you mean 'manifest'"):
        sources.read("manfest", tmp_path)


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
