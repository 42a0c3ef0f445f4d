"""The three papers: every table and figure as a function, published values beside ours."""

from covidcx.papers.registry import get, names

__all__ = ["get", "names"]
