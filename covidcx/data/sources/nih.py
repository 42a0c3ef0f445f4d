"""NIH ChestX-ray14: 112,120 frontal radiographs of 30,805 patients with 14 findings mined from reports, and 984 boxes.

Citation: Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8: Hospital-scale Chest X-ray Database and
    Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax Diseases. CVPR 2017.
Licence: free use with citation and a link to the NIH download site (NIH Clinical Center).
Where: https://nihcc.app.box.com/v/ChestXray-NIHCC
Tree:
    Data_Entry_2017_v2020.csv         or Data_Entry_2017.csv; plain or .gz
    BBox_List_2017.csv                optional: boxes of 880 images; plain or .gz
    train_val_list.txt, test_list.txt optional: the official split
    images/*.png                      or images_001/images/*.png ... images_012/images/*.png

'No Finding' is `normal`; Pneumonia or Consolidation is `cap` (as COVID-CXNet counts them; option `cap` names other
findings); everything else is `other`. The findings were mined from text and are noisy. Boxes are scaled where the
images are not the published 1024 x 1024 pixels. `train_val_list.txt` is split `train`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from covidcx.data.sources.headers import header
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import Rows, first_file, index_images, optional_file, pick, read_table, read_text

SOURCE = Source(
    name="nih",
    title="NIH ChestX-ray14",
    citation="Wang et al., ChestX-ray8, CVPR 2017",
    licence="free use with citation (NIH Clinical Center)",
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    images=112120,
    labels=("normal", "cap", "other"),
    views=("PA", "AP"),
    masks=("boxes",),
    tree=tree_of(__doc__),
    note="findings mined from reports; the images of rsna are among these",
)
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia",
    "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)  # fmt: skip
_SIDE = 1024


def read(
    folder: Path, derived: Path | None = None, all_views: bool = False, cap: str = "Pneumonia,Consolidation"
) -> Reading:
    """Read the images of the entry table that are there.

    Args:
        folder: see the tree above.
        derived: not used.
        all_views: not used; every image is frontal.
        cap: findings that make an image `cap`, separated by commas.
    """
    pneumonia = {pick(name.strip(), FINDINGS, "finding") for name in cap.split(",")}
    rows = Rows(SOURCE, folder, all_views)
    table = first_file(folder, SOURCE, "Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "Data_Entry_2017*.csv")
    listed = read_table(
        table, ("Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position")
    )
    files = index_images(folder)
    splits = {name: split for split, list_name in (("train", "train_val_list.txt"), ("test", "test_list.txt"))
              for name in _lines(optional_file(folder, list_name))}  # fmt: skip
    for record in listed.to_dict("records"):
        name = str(record["Image Index"])
        path = files.get(name)
        if path is None:
            rows.add(None, name, record["Patient ID"], np.nan)
            continue
        found = str(record["Finding Labels"]).split("|")
        label = label_of(found, pneumonia)
        if label is None:
            rows.strange(record["Finding Labels"])
        rows.add(
            path, name, record["Patient ID"], np.nan if label is None else label, view=record["View Position"],
            age=record["Patient Age"], sex=record["Patient Gender"], findings=found, split=splits.get(name, np.nan),
            original_width=record.get("OriginalImage[Width", np.nan), original_height=record.get("Height]", np.nan),
        )  # fmt: skip
    _add_boxes(rows, files, optional_file(folder, "BBox_List_2017.csv", "BBox_List_2017*.csv"))
    return rows.reading()


def label_of(found: Iterable[str], pneumonia: Iterable[str]) -> str | None:
    """Return the manifest's label of a set of findings; None where one of them is not known."""
    found = set(found)
    if found == {"No Finding"}:
        return "normal"
    if not found <= set(FINDINGS):
        return None
    return "cap" if found & set(pneumonia) else "other"


def _add_boxes(rows: Rows, files: dict[str, Path], table: Path | None) -> None:
    if table is None:
        return
    # The published header spreads one name over four columns.
    boxes = read_table(table, ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]"))
    sizes: dict[str, tuple[float, float]] = {}
    for name, finding, *place in zip(
        *(boxes[c] for c in ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")), strict=True
    ):
        if name not in files:
            continue
        if name not in sizes:
            head = header(files[name])
            sizes[name] = (head.width / _SIDE, head.height / _SIDE) if head else (1.0, 1.0)
        across, down = sizes[name]
        x, y, width, height = (float(value) for value in place)
        finding = "Infiltration" if finding == "Infiltrate" else finding
        rows.box(files[name], x * across, y * down, width * across, height * down, finding, "nih")


def _lines(path: Path | None) -> list[str]:
    return [line.strip() for line in read_text(path).splitlines() if line.strip()] if path else []
