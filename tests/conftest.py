"""Fixtures that every room shares."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real chest radiographs; skips where a machine does not have them."""
    folder = Path(os.environ.get("COVIDCX_DATA", REPO.parent / "shared" / "data"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"real data not found at {folder}; set COVIDCX_DATA to the folder that holds manifest.csv")
    return folder


@pytest.fixture(scope="session")
def repo() -> Path:
    """Root of the repository."""
    return REPO
