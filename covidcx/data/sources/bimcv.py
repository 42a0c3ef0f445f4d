"""BIMCV-COVID19+: patients of the Valencian region with at least one positive test for COVID-19.

Citation: M. de la Iglesia Vayá et al., "BIMCV COVID-19+: a large annotated dataset of RX and CT images from COVID-19
    patients", arXiv:2006.01174, 2020.
Licence: BIMCV-COVID19 research use agreement (registration; research only, no redistribution).
Where: https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/ (unpack every archive into one folder).
Tree:
    covid19_posi/   (or its contents)
      participants.tsv   tab-separated: participant, modality_dicom, age, gender
      derivatives/EHR/sil_reg_covid_posi.tsv   participant, date (dd.mm.yyyy), test, result
      derivatives/labels/labels_covid_posi.tsv   optional: ReportID (the session), Labels
      sub-*/sub-*_sessions.tsv   session_id, study_date (yyyymmdd)
      sub-*/ses-*/mod-rx/sub-*_ses-*_bp-chest_vp-ap_dx.png   16-bit, and a .json of its DICOM header

The label is the rule of COMiT-Net (section 4.4): an image is COVID-19 negative if it was taken closer in time to a
negative test (RT-PCR, IgM or IgG) than to a positive one, or 14 days or more away from the nearest positive test;
otherwise it is COVID-19 positive. Before and after count alike, a tie goes to the positive test, indeterminate tests
do not count. A negative image is `normal` where its report says nothing but normal, else `other`: it is not COVID-19,
and no more is known. Without a test or a date there is no label.

Pictures whose header says MONOCHROME1 are stored as negatives; they are inverted into `derived`, or left out.

Layout after the readers of rilshok/BIMCV-COVID-19-interface (participants, sessions, tests; also the names of
iteration 1+2+3), suinleelab/cxr_covid (JSON headers) and the DeepHealth pipeline (views, inverted pictures).
"""

import ast
import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from covidcx.data.sources.derived import IMAGES, make
from covidcx.data.sources.source import Reading, Source, tree_of
from covidcx.data.sources.tables import (
    NO_FILE,
    NO_XRAY,
    UNREADABLE,
    Rows,
    first_file,
    optional_file,
    read_table,
)
from covidcx.errors import ManifestError
from covidcx.progress import track

SOURCE = Source(
    name="bimcv",
    title="BIMCV-COVID19+",
    citation="de la Iglesia Vaya et al., BIMCV COVID-19+, arXiv:2006.01174, 2020",
    licence="BIMCV-COVID19 research use agreement",
    url="https://bimcv.cipf.es/bimcv-projects/bimcv-covid19/",
    images=None,
    labels=("covid", "normal", "other"),
    views=("PA", "AP", "LL"),
    masks=(),
    tree=tree_of(__doc__),
    note="Grows by iterations (the first: 1,380 CR and 885 DX studies). Some pictures named AP or PA are lateral.",
)

# COMiT-Net, section 4.4: "at least 14 days away from the nearest positive diagnostics test".
FAR_DAYS = 14
NEGATIVE_PICTURE = "stored as a negative (MONOCHROME1); to be inverted it needs a folder for derived files"
BAD_TEST = "test whose date or result cannot be understood"
_RESULTS = {"POSITIVO": True, "NEGATIVO": False}
_NO_RESULT = "INDETERMINADO"
_XRAY = ("CR", "DX")

_log = logging.getLogger(__name__)


def covid_by_nearest_test(taken: date, tests: Iterable[tuple[date, bool]]) -> bool | None:
    """Apply the label rule of COMiT-Net.

    Args:
        taken: day of the radiograph.
        tests: day of each test, and whether it was positive; indeterminate ones left out.

    Returns:
        Whether the radiograph counts as COVID-19; None without any test.

    Source: COMiT-Net, section 4.4.
    """
    days: dict[bool, int] = {}
    for day, positive in tests:
        days[positive] = min(days.get(positive, abs((taken - day).days)), abs((taken - day).days))
    if not days:
        return None
    if True not in days or days[True] >= FAR_DAYS:
        return False
    return days[True] <= days.get(False, days[True])


def read(folder: Path, derived: Path | None = None, all_views: bool = False) -> Reading:
    """Read the tables and the pictures below `mod-rx`.

    Raises:
        ManifestError: tables or pictures are missing, or a table lacks a column.
    """
    base = first_file(folder, SOURCE, "participants.tsv", "*/participants.tsv").parent
    people = read_table(base / "participants.tsv", ("participant", "modality_dicom", "age", "gender"), "\t")
    rows = Rows(SOURCE, folder, all_views)
    tests = _tests(base, folder, rows)
    reports = _reports(base)
    for person in track(people.to_dict("records"), "reading headers"):
        subject = str(person["participant"])
        # The published table has rows that are no participant (derivatives, code).
        if not subject.startswith("sub-"):
            continue
        pictures = sorted((base / subject).glob("ses-*/mod-rx/*.png"))
        if not pictures and any(kind in str(person["modality_dicom"]) for kind in _XRAY):
            rows.skip(subject, NO_FILE)
        days = _sessions(base / subject / f"{subject}_sessions.tsv") if pictures else {}
        for picture in pictures:
            _add(rows, picture, person, days, tests[subject], reports, derived)
    return rows.reading("no picture sub-*/ses-*/mod-rx/*.png of a participant is there")


def _add(
    rows: Rows, picture: Path, person: dict[str, object], days: dict[str, date],
    tests: list[tuple[date, bool, str]], reports: dict[str, tuple[str, ...]], derived: Path | None,
) -> None:  # fmt: skip
    header = _header(picture.with_suffix(".json"))
    session = picture.parent.parent.name
    part, view = (_entity(picture.stem, key) for key in ("bp", "vp"))
    if part not in (None, "chest"):
        rows.skip(picture.name, NO_XRAY)
        return
    taken = days.get(session) or _day(header.get("00080020"), "%Y%m%d")
    status = covid_by_nearest_test(taken, [test[:2] for test in tests]) if taken else None
    findings = reports.get(session, ())
    label = np.nan if status is None else "covid" if status else "normal" if set(findings) == {"normal"} else "other"
    view = view or header.get("00185101")
    image = picture
    if header.get("00280004") == "MONOCHROME1":
        if derived is None:
            rows.skip(picture.name, NEGATIVE_PICTURE)
            return
        raw = cv2.imread(str(picture), cv2.IMREAD_UNCHANGED)
        if raw is None:
            rows.skip(picture.name, UNREADABLE)
            return
        image = make(derived / IMAGES / picture.name, (picture,), lambda: _inverted(raw, header.get("00280101")))
    rows.add(
        image, picture.stem, person["participant"], label, view=view,
        age=header.get("00101010") or _mean_age(person["age"]), sex=person["gender"], findings=findings,
        nearest_test=_nearest(taken, tests),
    )  # fmt: skip


def _tests(base: Path, folder: Path, rows: Rows) -> defaultdict[str, list[tuple[date, bool, str]]]:
    """Return day, result and name of every participant's tests."""
    path = optional_file(base, "derivatives/EHR/sil_reg_covid_posi.tsv", "derivatives/EHR/SIL_REG_COVID_POSI*.t*")
    if path is None:
        first_file(folder, SOURCE, "derivatives/EHR/sil_reg_covid_posi.tsv")
    table = read_table(path, ("participant", "date", "test", "result"), "\t")
    tests: defaultdict[str, list[tuple[date, bool, str]]] = defaultdict(list)
    for subject, day, name, result in table[["participant", "date", "test", "result"]].itertuples(index=False):
        result = str(result).upper()
        taken = _day(day, "%d.%m.%Y")
        if result in _RESULTS and taken:
            tests[subject].append((taken, _RESULTS[result], str(name)))
        elif result != _NO_RESULT:
            rows.skip(f"test of {subject}: {day} {name} {result}", BAD_TEST)
    return tests


def _reports(base: Path) -> dict[str, tuple[str, ...]]:
    """Return the labels of every session's report; none where the table is not there."""
    path = optional_file(base, "derivatives/labels/[lL]abels_covid*.tsv")
    if path is None:
        return {}
    table = read_table(path, ("ReportID", "Labels"), "\t")
    return {report: _listed(labels) for report, labels in table[["ReportID", "Labels"]].itertuples(index=False)}


def _sessions(path: Path) -> dict[str, date]:
    if not path.is_file():
        return {}
    try:
        table = read_table(path, ("session_id", "study_date"), "\t")
    except ManifestError as error:
        # One damaged file of thousands; the sidecars hold the date too.
        _log.warning("%s", error)
        return {}
    days = ((session, _day(day, "%Y%m%d")) for session, day in table[["session_id", "study_date"]].itertuples(False))
    return {session: day for session, day in days if day}


def _header(path: Path) -> dict[str, str]:
    """Return the first value of each element of a DICOM JSON header (PS3.18 F); empty where it cannot be read."""
    try:
        elements = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    values: dict[str, str] = {}
    for tag, element in elements.items() if isinstance(elements, dict) else ():
        value = element.get("Value") if isinstance(element, dict) else None
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, str | int | float):
            values[tag] = str(value).strip()
    return values


def _entity(stem: str, key: str) -> str | None:
    """Return a part of a file name such as `vp-ap`."""
    found = re.search(rf"_{key}[-_]([a-z]+)", stem)
    return found[1] if found else None


def _inverted(raw: np.ndarray, bits: str | None) -> np.ndarray:
    """Return the positive of a negative picture, of the same type."""
    grey = raw if raw.ndim == 2 else cv2.cvtColor(raw[..., :3], cv2.COLOR_BGR2GRAY)
    white = int(np.iinfo(grey.dtype).max)
    if bits and bits.isdigit() and int(grey.max()) < 2 ** int(bits) <= white:
        white = 2 ** int(bits) - 1
    return white - grey


def _nearest(taken: date | None, tests: list[tuple[date, bool, str]]) -> str | float:
    """Describe the test that decided, as '<test> positive +3 d': days from the test to the radiograph."""
    if taken is None or not tests:
        return np.nan
    day, positive, name = min(tests, key=lambda test: (abs((taken - test[0]).days), not test[1], test[0], test[2]))
    return f"{name} {'positive' if positive else 'negative'} {(taken - day).days:+d} d"


def _day(text: object, form: str) -> date | None:
    try:
        # study_date is a float ('20200401.0') in tables where another cell of the column is empty.
        return datetime.strptime(str(text).removesuffix(".0"), form).date()
    except ValueError:
        return None


def _listed(text: object) -> tuple[str, ...]:
    """Return the items of a printed Python list; some cells are cut off, those have none."""
    try:
        items = ast.literal_eval(text) if isinstance(text, str) else ()
    except (ValueError, SyntaxError, RecursionError):
        items = ()
    return tuple(str(item).strip() for item in items) if isinstance(items, list) else ()


def _mean_age(text: object) -> str | float:
    """Return the mean of a participant's ages over the studies, printed as '[71, 72]'."""
    ages = [float(age) for age in re.findall(r"\d+(?:\.\d+)?", str(text))] if not pd.isna(text) else []
    return f"{sum(ages) / len(ages):g}" if ages else np.nan
