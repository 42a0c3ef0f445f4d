"""Fixtures of the edge room: see `tests/tiny_bundles.py`."""

from pathlib import Path

import pytest
from tiny_bundles import convert_networks, save_pair


@pytest.fixture(scope="session")
def networks() -> dict[str, bytes]:
    """TFLite content by name."""
    return convert_networks()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, networks) -> Path:
    """Folder of the classifier bundle `tiny`; its segmenter `tiny-lungs` lies beside it."""
    return save_pair(tmp_path_factory.mktemp("bundles"), networks)
