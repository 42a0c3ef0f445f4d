"""Fixtures of the deploy room."""

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The shipped `covid-cxnet` exported as a SavedModel; it takes about half a minute, so once."""
    pytest.importorskip("tensorflow", reason="exporting needs the train extra")
    from covidcx.deploy.saved_model import export_saved_model

    return export_saved_model("covid-cxnet", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def served(exported):
    """The SavedModel, loaded."""
    import tensorflow as tf

    return tf.saved_model.load(str(exported.folder))
