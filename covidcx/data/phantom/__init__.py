"""Seeded synthetic chest radiographs with lung masks, disease masks and a manifest: every command's default data."""

from covidcx.data.phantom.findings import LABEL_SETS, LABELS, findings
from covidcx.data.phantom.render import PhantomImage, phantom, series
from covidcx.data.phantom.write import write_phantom

__all__ = ["LABELS", "LABEL_SETS", "PhantomImage", "findings", "phantom", "series", "write_phantom"]
