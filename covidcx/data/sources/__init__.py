"""Adapters that turn a public data set's own layout into a `Manifest`."""

from covidcx.data.sources.registry import SOURCES, info, names, options, read
from covidcx.data.sources.source import Reading, Source

__all__ = ["SOURCES", "Reading", "Source", "info", "names", "options", "read"]
