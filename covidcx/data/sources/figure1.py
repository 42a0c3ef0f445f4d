"""Figure 1 COVID-19 chest X-ray data: 55 images that physicians shared, some photographed from a monitor.

Citation: Wang L, Wong A, Lin ZQ, et al. Figure 1 COVID-19 Chest X-ray Dataset Initiative (2020); see COVID-Net,
    Scientific Reports 10, 19549 (2020).
Licence: research use (terms in the repository).
Where: https://github.com/agchung/Figure1-COVID-chestxray-dataset
Tree:
    metadata.csv    patientid, sex, age, finding, view, modality, ...
    images/         one file per row, named after the column `patientid`: COVID-00003a.jpg or .png

Images of one patient differ in the last letter. 'COVID-19' is `covid`, 'Pneumonia' is `cap`, 'No finding' is `normal`;
an empty finding has no label, even though the file's name starts with COVID.
"""

import re
from pathlib import Path

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_XRAY, Rows, first_file, index_images, read_table

SOURCE = Source(
    name="figure1",
    title="Figure 1 COVID-19 chest X-rays",
    citation="Wang et al., COVID-Net, Scientific Reports 2020",
    licence="research use; see the repository",
    url="https://github.com/agchung/Figure1-COVID-chestxray-dataset",
    images=55,
    labels=("covid", "cap", "normal"),
    views=("PA", "AP"),
    masks=(),
    tree=tree_of(__doc__),
    note="a part of covidx; some are photographs of a monitor",
)
_LABELS = {"COVID-19": "covid", "Pneumonia": "cap", "No finding": "normal"}


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the radiographs of `metadata.csv`."""
    rows = Rows(SOURCE, folder, all_views)
    table = first_file(folder, SOURCE, "metadata.csv")
    listed = read_table(table, ("patientid", "sex", "age", "finding", "view", "modality"))
    files = {path.stem: path for path in index_images(folder / "images").values()}
    for record in listed.to_dict("records"):
        name = str(record["patientid"])
        if str(record["modality"]) != "X-ray":
            rows.skip(name, NO_XRAY)
            continue
        rows.add(
            files.get(name), name, patient_of(name), rows.label(record["finding"], _LABELS), view=record["view"],
            age=record["age"], sex=record["sex"], findings=(record["finding"],),
        )  # fmt: skip
    return rows.reading()


def patient_of(name: str) -> str:
    """Return the patient of an image: COVID-00003a and COVID-00003b are COVID-00003."""
    return re.sub(r"(?<=\d)[a-z]$", "", name)
