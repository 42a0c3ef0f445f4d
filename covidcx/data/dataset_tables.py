"""The data set tables of COVID-CXNet and COMiT-Net, counted from any manifest: `covidcx data tables`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from covidcx.data.manifest import FINDING_LABELS, LABELS, MASKS, SPLITS, Manifest
from covidcx.data.sources import SOURCES, info
from covidcx.errors import ManifestError, did_you_mean

NONE = "(none)"
# Haghanifar et al. 2022, section 3.1: images per class.
COVID_CXNET = {"normal": 5000, "cap": 4600, "covid": 780}
# Malhotra et al. 2022, table 1: images by database, health and view.
COMIT_NET_1 = {
    ("nih", "Healthy", "PA"): 4088, ("nih", "Healthy", "AP"): 2688, ("nih", "Unhealthy", "PA"): 3469,
    ("nih", "Unhealthy", "AP"): 3115, ("chexpert", "Healthy", "PA"): 1331, ("chexpert", "Healthy", "AP"): 2163,
    ("chexpert", "Unhealthy", "PA"): 3279, ("chexpert", "Unhealthy", "AP"): 11305,
}  # fmt: skip
# Table 2: images of the COVID-19 data sets by source and view.
COMIT_NET_2 = {
    "GitHub (cohen)": (50, 26, 76), "Italy": (30, 39, 69), "Spain": (0, 110, 110), "RadioPaedia": (9, 85, 94),
    "BSTI": (3, 39, 42), "EuroRad": (6, 18, 24), "BIMCV-COVID19+": (None, None, 2098),
}  # fmt: skip
# Table 3: images by split; lung and disease masks, classes, views.
COMIT_NET_3 = {
    "train": (8730, 1456, 8173, 1740, 16551, 10161, 16690), "test": (1837, 251, 2077, 2223, 4097, 2464, 3968),
}  # fmt: skip
_HEALTHY = ("normal", "negative")


@dataclass(frozen=True, eq=False)
class Table:
    """A table of counts.

    Attributes:
        title: what is counted.
        frame: one row a group, with its names in the first columns.
    """

    title: str
    frame: pd.DataFrame

    def __str__(self) -> str:
        shown = self.frame.astype(object).where(self.frame.notna(), "-")
        return f"{self.title}\n{shown.to_string(index=False)}"


def tables(manifest: Manifest, paper: str | None = None) -> list[Table]:
    """Count the images of a manifest as a paper does.

    Args:
        manifest: any table of studies; its files are not opened.
        paper: "covid-cxnet" or "comit-net"; by default the general tables by source, split, class and view.

    Returns:
        The tables, in the paper's order, with the published numbers beside ours where the paper has them.

    Raises:
        ManifestError: the paper is unknown, or the manifest has no rows.
    """
    if paper is not None and paper not in PAPERS:
        raise ManifestError(f"no data set tables of paper {paper!r}.{did_you_mean(paper, PAPERS)}")
    if not len(manifest):
        raise ManifestError(f"{manifest.path} has no rows to count")
    return (PAPERS[paper] if paper else _general)(manifest.frame)


def as_rows(found: list[Table]) -> pd.DataFrame:
    """Return tables as one: table, row, column, images; cells without a number are left out."""
    cells = []
    for table in found:
        texts = [column for column in table.frame if not pd.api.types.is_numeric_dtype(table.frame[column])]
        for record in table.frame.to_dict("records"):
            row = " / ".join(str(record[column]) for column in texts)
            cells += [
                (table.title, row, column, int(value))
                for column, value in record.items() if column not in texts and not pd.isna(value)
            ]  # fmt: skip
    return pd.DataFrame(cells, columns=["table", "row", "column", "images"])


def counts(frame: pd.DataFrame, rows: str, columns: str) -> pd.DataFrame:
    """Count images by two columns of a manifest, known names first, in their own order, with totals.

    Args:
        frame: a manifest's rows.
        rows: column whose values become rows.
        columns: column whose values become columns.

    Returns:
        The values of `rows`, then a count per value of `columns`, `patients` and `images`; last row `total`.
    """
    left, top = frame[rows].fillna(NONE), frame[columns].fillna(NONE)
    table = pd.crosstab(left, top)
    table = table.loc[_ordered(table.index, rows), _ordered(table.columns, columns)]
    table["patients"] = frame.groupby(left)["patient_id"].nunique()
    table["images"] = left.value_counts()
    table.loc["total"] = table.sum()
    table.loc["total", "patients"] = frame["patient_id"].nunique()
    table.columns.name = None
    return table.astype(int).rename_axis(rows).reset_index()


def _general(frame: pd.DataFrame) -> list[Table]:
    return [
        Table("images by source and label", counts(frame, "source", "label")),
        Table("images by source and view", counts(frame, "source", "view")),
        Table("images by split and label", counts(frame, "split", "label")),
        Table("images by label and view", counts(frame, "label", "view")),
    ]


def _covid_cxnet(frame: pd.DataFrame) -> list[Table]:
    classes = pd.DataFrame(
        [(label, int((frame["label"] == label).sum()), published) for label, published in COVID_CXNET.items()],
        columns=["class", "images", "published"],
    )
    known = frame[frame["label"].isin(list(COVID_CXNET))]
    made = [Table("COVID-CXNet, section 3.1: images by class", classes)]
    if len(known):
        made += [
            Table("COVID-CXNet, section 3.1: images by source and class", counts(known, "source", "label")),
            Table("COVID-CXNet: images by split and class", counts(known, "split", "label")),
            Table("COVID-CXNet: images by view and class", counts(known, "view", "label")),
        ]
    return made


def _comit_net(frame: pd.DataFrame) -> list[Table]:
    label = frame["label"]
    covid = label == "covid"
    health = label.map(lambda name: "Healthy" if name in _HEALTHY else "Unhealthy", na_action="ignore")
    first = []
    rest = frame[label.isin(FINDING_LABELS) & ~covid]
    keys = rest.groupby([rest["source"].fillna(NONE), health, rest["view"].fillna(NONE)]).size().to_dict()
    for key in sorted({*keys, *COMIT_NET_1}, key=lambda key: (key[0], key[1], key[2] != "PA", key[2])):
        first.append((*key, keys.get(key, 0), COMIT_NET_1.get(key)))
    images = frame[covid]
    second = [
        (_title(source), *_views(group), len(group), None)
        for source, group in images.groupby(images["source"].fillna(NONE))
    ]
    second.append(("total", *_views(images), len(images), 2513))
    return [
        Table(
            "COMiT-Net, table 1: images by database, health and view",
            _numbers(first, ["database", "class", "view", "images", "published"]),
        ),
        Table(
            "COMiT-Net, table 2: COVID-19 images by source and view",
            _numbers(second, ["source", "AP", "PA", "no view", "images", "published"]),
        ),
        Table("COMiT-Net, table 2, as published", _numbers(
            [(name, *values) for name, values in COMIT_NET_2.items()], ["source", "AP", "PA", "images"])),
        Table("COMiT-Net, table 3: images by split and task", _third(frame)),
    ]  # fmt: skip


def _third(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["split", "lung mask", "disease mask", "Normal", "Covid", "Others", "PA", "AP"]
    splits = frame["split"].fillna(NONE)
    made = [(split, *_tasks(frame[splits == split])) for split in _ordered(splits.unique(), "split")]
    made.append(("total", *_tasks(frame)))
    made += [(f"{split} (published)", *values) for split, values in COMIT_NET_3.items()]
    return _numbers(made, columns)


def _tasks(frame: pd.DataFrame) -> tuple[int, ...]:
    """Count what table 3 counts: lung and disease masks, normal, COVID-19, others, PA, AP."""
    lung, disease = (frame[column].notna() if column in frame else pd.Series(False, frame.index)
                     for column in (MASKS[0], MASKS[2]))  # fmt: skip
    label, view = frame["label"], frame["view"]
    healthy, covid = label.isin(_HEALTHY), label == "covid"
    others = label.isin(FINDING_LABELS) & ~healthy & ~covid
    return tuple(int(kind.sum()) for kind in (lung, disease, healthy, covid, others, view == "PA", view == "AP"))


def _views(frame: pd.DataFrame) -> tuple[int, int, int]:
    found = frame["view"].value_counts()
    ap, pa = int(found.get("AP", 0)), int(found.get("PA", 0))
    return ap, pa, int(frame["view"].isna().sum())


def _title(source: str) -> str:
    return info(source).title if source in SOURCES else source


def _numbers(rows: list[tuple], columns: list[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=columns)
    for column in columns:
        if column not in ("database", "class", "view", "source", "split"):
            frame[column] = frame[column].astype("Int64")
    return frame


def _ordered(values, column: str) -> list[str]:
    known = {"label": LABELS, "split": SPLITS, "view": ("PA", "AP")}.get(column, ())
    order = {name: place for place, name in enumerate(known)}
    return sorted(values, key=lambda value: (value == NONE, order.get(value, len(order)), str(value)))


PAPERS: Mapping[str, Callable[[pd.DataFrame], list[Table]]] = {"covid-cxnet": _covid_cxnet, "comit-net": _comit_net}
