"""What the training tests share."""

import pytest
import tiny_runs


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """Manifest of 26 synthetic images with lung masks; its prepared images are cached beside the runs."""
    return tiny_runs.write_manifest(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def mixed(tmp_path_factory):
    """Manifest of the same images with missing masks, boxes, views and contradicted labels."""
    return tiny_runs.write_mixed_manifest(tmp_path_factory.mktemp("mixed"))
