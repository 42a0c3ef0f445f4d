"""`covidcx demo`: the whole way from DICOM files to findings, on synthetic radiographs and one real one."""

import csv
import shutil
from importlib.util import find_spec
from pathlib import Path

from covidcx.edge.predict import Summary, predict_files

REAL_FILE = "RG1_UNCR.dcm"
REAL_NAME = "real-chest-RG1_UNCR.dcm"


def run_demo(
    out: str | Path,
    bundle: str | Path = "covid-cxnet",
    patients: int = 6,
    seed: int = 0,
    threads: int | None = None,
) -> tuple[Summary, list[str]]:
    """Write phantom DICOM files, add the real one where it is installed, and predict.

    Args:
        out: folder; gets `input/` (the DICOM files) and `findings/` (what was found).
        bundle: name or folder of a classifier bundle.
        patients: number of synthetic patients.
        seed: of the phantom.
        threads: threads per inference.

    Returns:
        The batch's summary, and remarks to show before it.

    Raises:
        CovidcxError: a bundle is missing or the output cannot be used.
    """
    from covidcx.data.phantom import write_phantom

    out = Path(out)
    manifest = write_phantom(out / "phantom", patients=patients, format="dicom", seed=seed)
    inputs = out / "input"
    inputs.mkdir(parents=True, exist_ok=True)
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        # The phantom's truth goes into the file's name, so that the table shows it beside the answer.
        source = manifest.parent / row["image"]
        shutil.copyfile(source, inputs / f"phantom-{row['label']}-{source.name}")
    notes = [f"{len(rows)} synthetic chest DICOM files of {patients} patients in {inputs}"]
    real = real_chest()
    if real is None:
        notes.append(f"the real chest {REAL_FILE} is left out; get it with: pip install pydicom-data")
    else:
        shutil.copyfile(real, inputs / REAL_NAME)
        notes.append(f"1 real chest DICOM file ({REAL_FILE} of the package pydicom-data) as {inputs / REAL_NAME}")
    return predict_files([inputs], bundle, out / "findings", threads), notes


def real_chest() -> Path | None:
    """Return the real chest DICOM file of the package pydicom-data, or None where it is not installed."""
    spec = find_spec("data_store")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(folder) / "data" / REAL_FILE
        if path.is_file():
            return path
    return None
