"""What is known of a public data set, and what reading a copy of it gives."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from covidcx.data.manifest import Manifest


@dataclass(frozen=True)
class Source:
    """A public data set, as published.

    Attributes:
        name: the name in `covidcx data prepare NAME`, and the prefix of its patient ids.
        title: what its authors call it.
        citation: the publication to cite.
        licence: terms of use, in one line.
        url: where a user gets it.
        images: number of radiographs as published, lateral ones included; None where it grows or is the user's own.
        labels: labels of `covidcx.data.manifest.LABELS` that it can give.
        views: projections it holds, of `covidcx.data.manifest.VIEWS`.
        masks: annotations drawn on the image: "lung", "disease", "boxes".
        tree: the files expected in its folder, one a line.
        note: a warning for users of the data; empty where there is none.
    """

    name: str
    title: str
    citation: str
    licence: str
    url: str
    images: int | None
    labels: tuple[str, ...]
    views: tuple[str, ...]
    masks: tuple[str, ...]
    tree: str
    note: str = ""


@dataclass(frozen=True, eq=False)
class Reading:
    """A data set that was read from a folder.

    Attributes:
        manifest: its images, one row each; `manifest.root` is the folder, paths are relative to it (absolute for
            files that were derived elsewhere).
        boxes: finding boxes, `covidcx.data.manifest.BOX_COLUMNS`, in pixels of the image; None where it has none.
        skipped: what is listed but not in the manifest, as (file or row, reason).
    """

    manifest: "Manifest"
    boxes: "pd.DataFrame | None" = None
    skipped: tuple[tuple[str, str], ...] = ()


def tree_of(doc: str | None) -> str:
    """Return the indented block below the line `Tree:` of a module's docstring."""
    lines = (doc or "").partition("\nTree:\n")[2].splitlines()
    block = []
    for line in lines:
        if line.strip() and not line.startswith(" "):
            break
        block.append(line)
    return textwrap.dedent("\n".join(block)).strip()
