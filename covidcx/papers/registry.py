"""The papers by name: one folder and one line here each."""

from importlib import import_module
from typing import TYPE_CHECKING

from covidcx.errors import CovidcxError, did_you_mean

if TYPE_CHECKING:
    from covidcx.papers.item import Paper

PAPERS: dict[str, str] = {
    "covid-cxnet": "covidcx.papers.covid_cxnet",
    "comit-net": "covidcx.papers.comit_net",
    "siim": "covidcx.papers.siim",
}


def names() -> tuple[str, ...]:
    """Return the names of all papers."""
    return tuple(PAPERS)


def get(name: str) -> "Paper":
    """Return a paper by name.

    Raises:
        CovidcxError: the name is unknown.
    """
    if name not in PAPERS:
        raise CovidcxError(f"unknown paper {name!r}.{did_you_mean(name, PAPERS)}")
    return import_module(PAPERS[name]).PAPER
