"""Hannover COVID-19 image repository: 243 radiographs of 71 patients of Hannover Medical School, all PCR-positive.

Citation: Winther HB, Laser H, Gerbel S, et al. COVID-19 Image Repository. figshare (2020), doi:10.25835/0090041.
Licence: CC BY 3.0.
Where: https://github.com/ml-workgroup/covid-19-image-repository
Tree:
    data.csv             patient_id, image_id, sex, age, modality, projection, ...
    png/IMAGE_ID.png

Every patient has COVID-19, so every image is `covid`, whatever it shows; many are follow-ups on the ward.
"""

from pathlib import Path

from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import NO_XRAY, Rows, first_file, index_images, read_table

SOURCE = Source(
    name="hannover",
    title="Hannover COVID-19 image repository",
    citation="Winther et al., COVID-19 Image Repository, 2020",
    licence="CC BY 3.0",
    url="https://github.com/ml-workgroup/covid-19-image-repository",
    images=243,
    labels=("covid",),
    views=("PA", "AP"),
    masks=(),
    tree=tree_of(__doc__),
    note="follow-ups of 71 patients",
)


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the radiographs of `data.csv`."""
    rows = Rows(SOURCE, folder, all_views)
    table = first_file(folder, SOURCE, "data.csv")
    listed = read_table(table, ("patient_id", "image_id", "sex", "age", "modality", "projection"))
    files = {path.stem: path for path in index_images(folder).values()}
    for record in listed.to_dict("records"):
        name = str(record["image_id"])
        if str(record["modality"]) not in ("CR", "DX"):
            rows.skip(name, NO_XRAY)
            continue
        rows.add(
            files.get(name), name, record["patient_id"], "covid", view=record["projection"], age=record["age"],
            sex=record["sex"], findings=("COVID-19",),
        )  # fmt: skip
    return rows.reading()
