"""Seeded synthetic chest radiographs with lung masks, disease masks and a manifest: every command's default data."""

from covidcx.data.phantom.render import LABELS, PhantomImage, phantom
from covidcx.data.phantom.write import write_phantom

__all__ = ["LABELS", "PhantomImage", "phantom", "write_phantom"]
