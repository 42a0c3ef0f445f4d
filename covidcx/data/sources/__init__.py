"""Adapters that turn a public data set's own layout into a `Manifest`."""

from covidcx.data.sources.registry import SOURCES, names, read

__all__ = ["SOURCES", "names", "read"]
