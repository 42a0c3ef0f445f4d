"""What the training tests share."""

import pytest
import tiny_runs


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    """Manifest of 26 synthetic images with lung masks; its prepared images are cached beside the runs."""
    return tiny_runs.write_manifest(tmp_path_factory.mktemp("tiny"))
