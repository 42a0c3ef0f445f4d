"""Actualmed COVID-19 chest X-ray data: 238 images of Castellón, with the result of the test.

Citation: Wang L, Wong A, Lin ZQ, et al. Actualmed COVID-19 Chest X-ray Dataset Initiative (2020); see COVID-Net,
    Scientific Reports 10, 19549 (2020).
Licence: research use (terms in the repository).
Where: https://github.com/agchung/Actualmed-COVID-chestxray-dataset
Tree:
    metadata.csv    patientid, sex, age, finding, view, modality, imagename, notes
    images/         the files that the column `imagename` names

'COVID-19' is `covid`, 'No finding' (the infection was excluded) is `normal`; inconclusive ones have no label.
"""

from pathlib import Path

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_XRAY, Rows, first_file, index_images, read_table

SOURCE = Source(
    name="actualmed",
    title="Actualmed COVID-19 chest X-rays",
    citation="Wang et al., COVID-Net, Scientific Reports 2020",
    licence="research use; see the repository",
    url="https://github.com/agchung/Actualmed-COVID-chestxray-dataset",
    images=238,
    labels=("covid", "normal"),
    views=("PA", "AP"),
    masks=(),
    tree=tree_of(__doc__),
    note="a part of covidx",
)
_LABELS = {"COVID-19": "covid", "No finding": "normal"}


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the radiographs of `metadata.csv`."""
    rows = Rows(SOURCE, folder, all_views)
    table = first_file(folder, SOURCE, "metadata.csv")
    listed = read_table(table, ("patientid", "sex", "age", "finding", "view", "modality", "imagename"))
    files = index_images(folder / "images")
    for record in listed.to_dict("records"):
        name = str(record["imagename"])
        if str(record["modality"]) != "X-ray":
            rows.skip(name, NO_XRAY)
            continue
        rows.add(
            files.get(name), name, record["patientid"], rows.label(record["finding"], _LABELS), view=record["view"],
            age=record["age"], sex=record["sex"], findings=(record["finding"],),
        )  # fmt: skip
    return rows.reading()
