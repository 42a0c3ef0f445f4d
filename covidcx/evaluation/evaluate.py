"""`evaluate`: a bundle against a manifest, written down so that anyone can repeat and doubt it."""

import csv
import datetime
import io
import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import covidcx
from covidcx.errors import CovidcxError
from covidcx.evaluation.classification import classification_metrics, pair_score, share_called
from covidcx.evaluation.masks import MaskTable, mask_metrics, predict_masks
from covidcx.evaluation.predictions import Engine, PredictionTable, column, predict_manifest, select
from covidcx.evaluation.regions import region_metrics
from covidcx.evaluation.subgroups import SMALL, groups_of, label_index, shortcut_notes, source_only_auc
from covidcx.finding import DISCLAIMER

if TYPE_CHECKING:
    from covidcx.bundle import Bundle
    from covidcx.data.manifest import Manifest

logger = logging.getLogger(__name__)


def evaluate(
    bundle: "str | Path | Bundle",
    manifest: Path,
    out: Path,
    split: str | None = "test",
    bootstrap: int = 1000,
    seed: int = 0,
    engine: Engine | None = None,
    segmenter: Engine | None = None,
    command: str | None = None,
    figures: bool = True,
) -> dict[str, Any]:
    """Evaluate a bundle on one or several splits of a manifest and write the report.

    Args:
        bundle: name, folder, or an open bundle; a classifier, with or without masks, or a lung segmenter.
        manifest: CSV file of images and labels.
        out: folder for `metrics.json`, `metrics.csv`, `predictions.csv`, `confusion.csv`, `REPORT.md` and `plots/`.
        split: a split, several separated by commas (each is reported on its own), or None for all.
        bootstrap: patient-level resamples per interval; 0 for none.
        seed: of the resampling.
        engine: another runtime for the model, such as LiteRT, as a function; the Keras model when omitted.
        segmenter: another runtime for the lung segmenter.
        command: what to record as the command; this call's equivalent on the command line when omitted.
        figures: draw the plots.

    Returns:
        What `metrics.json` holds: per split the metrics as `{"value", "low", "high", "repeats", "undefined"}`, the
        same by group, what could not be read, remarks, and where everything came from.

    Raises:
        CovidcxError: a split is unknown or empty, nothing can be read, or no image has a usable label.
        BundleError: the bundle is missing or altered.
        ManifestError: the manifest cannot be read.
    """
    from covidcx.bundle import Bundle
    from covidcx.data.manifest import Manifest
    from covidcx.evaluation.report import write_report

    if bootstrap < 0:
        raise CovidcxError(f"the number of bootstrap resamples is {bootstrap}; give 0 (no intervals) or more")
    given = bundle
    bundle = bundle if not isinstance(bundle, str | Path) else Bundle.open(bundle)
    table = Manifest.read(manifest)
    _, names = select(table.frame, split)
    # A file listed twice would count twice and seem to be two images of one patient.
    repeated = table.frame["image"].duplicated().to_numpy()
    distinct = table.take(~repeated)
    out = Path(out)
    if bundle.task == "segment":
        answers: PredictionTable | MaskTable = predict_masks(bundle, distinct, split, segmenter or engine)
    else:
        answers = predict_manifest(bundle, distinct, split, engine, segmenter)
    sections, region_failures = {}, []
    for name in names:
        own = answers.take([i for i, own in enumerate(answers.splits) if own == name])
        if len(own) == 0:
            raise CovidcxError(f"no image of split {name!r} could be evaluated; see the images' files, or leave it out")
        logger.info("computing metrics of %d images of split %s", len(own), name)
        if isinstance(own, MaskTable):
            sections[name] = mask_section(own, bootstrap, seed)
            sections[name]["without_mask"] = answers.without_mask.get(name, 0)
        else:
            sections[name] = class_section(own, bootstrap, seed)
            sections[name]["regions"], unread = region_metrics(bundle, distinct, name, bootstrap, seed)
            known = {failure.image for failure in answers.failures}
            region_failures += [failure for failure in unread if failure.image not in known]
            for head, block in sections[name]["regions"].items():
                sections[name]["metrics"] |= {f"{head}_{key}": value for key, value in block["metrics"].items()}
    given_name = given if isinstance(given, str) else _shown(given) if isinstance(given, Path) else bundle.name
    result = {
        **_provenance(bundle, table, names),
        "bootstrap": bootstrap,
        "seed": seed,
        "command": command or _command(given_name, manifest, out, split, bootstrap, seed),
        "operating_points": dict(bundle.operating_points),
        "temperature": bundle.temperature,
        "splits": sections,
        "failures": [{"image": f.image, "reason": f.reason} for f in (*answers.failures, *region_failures)],
        "notes": [*_notes(bundle, table, names), *_repeated(table, repeated, names)],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_report(result, answers, out, figures)
    return result


def class_section(table: PredictionTable, repeats: int, seed: int) -> dict[str, Any]:
    """Compute what is reported about one set of a classifier's answers.

    Args:
        table: the set, at least one image with a known label.
        repeats: bootstrap resamples.
        seed: of the resampling.

    Returns:
        JSON-ready: the metrics, `called_covid` (share called COVID per true label, labels the model does not know
        included), `groups` by source, view and sex, and `shortcut` (remarks and the AUC of looking at the source).
    """
    section = _class_metrics(table, repeats, seed)
    section["groups"] = {
        attribute: {
            value: _class_metrics(table.take(rows), repeats, seed) for value, rows in groups_of(column_).items()
        }
        for attribute, column_ in table.attributes.items()
    }
    index, _ = label_index(table.truth, table.labels)
    known = np.flatnonzero(index >= 0)
    sources = table.attributes.get("source")
    section["shortcut"] = {"notes": [], "source_only_auc_covid": None}
    if sources is not None and "covid" in table.labels:
        truth, sources = [table.truth[i] for i in known], [sources[i] for i in known]
        ceiling = source_only_auc([name == "covid" for name in truth], sources)
        section["shortcut"] = {
            "notes": shortcut_notes(truth, sources),
            "source_only_auc_covid": None if np.isnan(ceiling) else ceiling,
        }
    return section


def mask_section(table: MaskTable, repeats: int, seed: int) -> dict[str, Any]:
    """Compute what is reported about one set of a segmenter's answers.

    Args:
        table: the set, at least one image.
        repeats: bootstrap resamples.
        seed: of the resampling.

    Returns:
        JSON-ready: the metrics, and `groups` by label, source, view, sex and the mask's reader.
    """
    section = _mask_metrics(table, repeats, seed)
    section["groups"] = {
        attribute: {value: _mask_metrics(table.take(rows), repeats, seed) for value, rows in groups_of(values).items()}
        for attribute, values in table.attributes.items()
    }
    readers = sorted({reader for reader in table.attributes.get("lung_mask_reader", ()) if reader})
    section["readers"] = readers
    return section


def headline(result: dict[str, Any]) -> dict[str, Any]:
    """Shorten a result to what a bundle's `metrics` field carries: per split the metrics without groups."""
    return {
        name: {
            "images": section["images"],
            "patients": section["patients"],
            "metrics": {
                key: {part: value[part] for part in ("value", "low", "high")}
                for key, value in section.get("metrics", {}).items()
            },
        }
        for name, section in result["splits"].items()
    }


def metrics_csv(result: dict[str, Any]) -> str:
    """Return every metric of a result as one long table."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["split", "group", "group_value", "metric", "value", "low", "high", "repeats", "undefined", "images",
         "patients", "small"]
    )  # fmt: skip
    for split, section in result["splits"].items():
        blocks = [("all", "all", section)] + [
            (attribute, value, block)
            for attribute, values in section["groups"].items()
            for value, block in values.items()
        ]
        for attribute, value, block in blocks:
            for name, interval in block["metrics"].items():
                numbers = ["" if interval[k] is None else interval[k] for k in ("value", "low", "high")]
                writer.writerow(
                    [split, attribute, value, name, *numbers, interval["repeats"], interval["undefined"],
                     block["images"], block["patients"], block["small"]]
                )  # fmt: skip
    return stream.getvalue()


def curves(table: PredictionTable) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return positives and scores of every ROC curve that is reported, by the curve's name."""
    index, _ = label_index(table.truth, table.labels)
    known = index >= 0
    index, scores = index[known], table.probabilities[known]
    found = {f"{label} against rest": (index == i, scores[:, i]) for i, label in enumerate(table.labels)}
    if "covid" in table.labels and "normal" in table.labels:
        covid, normal = table.labels.index("covid"), table.labels.index("normal")
        pair = (index == covid) | (index == normal)
        found["covid against normal"] = (index[pair] == covid, pair_score(scores[pair], covid, normal))
    return found


def to_json(result: dict[str, Any]) -> str:
    """Return a result as strict JSON text."""
    return json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _class_metrics(table: PredictionTable, repeats: int, seed: int) -> dict[str, Any]:
    index, excluded = label_index(table.truth, table.labels)
    if (index >= 0).any():
        block = classification_metrics(
            table.probabilities, table.truth, table.predicted, table.labels, table.patients, repeats, seed
        ).to_dict()
    else:
        block = {"images": 0, "patients": 0, "per_label": {}, "excluded": excluded, "metrics": {}}
    if "covid" in table.labels:
        block["called_covid"] = _called_covid(table, repeats, seed)
        if "cap" in block["called_covid"]:
            share = block["called_covid"]["cap"]
            block["metrics"]["cap_called_covid"] = {k: v for k, v in share.items() if k not in ("images", "patients")}
    block["small"] = block["images"] < SMALL
    return block


def _called_covid(table: PredictionTable, repeats: int, seed: int) -> dict[str, Any]:
    shares = {}
    for label, rows in groups_of(table.truth).items():
        if label == "covid":
            continue
        patients = [table.patients[i] for i in rows]
        share = share_called([table.predicted[i] for i in rows], patients, "covid", repeats, seed)
        shares[label] = {"images": len(rows), "patients": len(set(patients)), **share.to_dict()}
    return shares


def _mask_metrics(table: MaskTable, repeats: int, seed: int) -> dict[str, Any]:
    undefined = int(sum(np.isnan(score.surface_distance) for score in table.scores))
    return {
        "images": len(table),
        "patients": len(set(table.patients)),
        "small": len(table) < SMALL,
        "boundary_undefined": undefined,
        "two_readers": sum(reader is not None for reader in table.readers),
        "metrics": {name: interval.to_dict() for name, interval in mask_metrics(table, repeats, seed).items()},
    }


def _provenance(bundle: "Bundle", manifest: "Manifest", names: tuple[str, ...]) -> dict[str, Any]:
    from covidcx.data.splits import split_hash

    return {
        "covidcx": covidcx.__version__,
        "disclaimer": DISCLAIMER,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "task": bundle.task,
        "bundle": bundle.name,
        "bundle_checksum": bundle.checksum,
        "bundle_files": dict(bundle.files),
        "manifest": manifest.path.name,
        "split_hash": split_hash(manifest.frame),
        "trained_on_split_hash": bundle.training.get("split_hash"),
        "evaluated": list(names),
    }


def _repeated(manifest: "Manifest", repeated: np.ndarray, names: tuple[str, ...]) -> list[str]:
    here = repeated & manifest.frame["split"].isin(names).to_numpy()
    if not here.any():
        return []
    lines = ", ".join(str(line) for line, out in zip(manifest.lines, here, strict=True) if out)
    return [f"{int(here.sum())} rows name an image that is already listed and were left out (lines {lines})."]


def _notes(bundle: "Bundle", manifest: "Manifest", names: tuple[str, ...]) -> list[str]:
    """Say what could make the numbers look better than they are."""
    from covidcx.data.splits import split_hash

    notes = []
    trained, here = bundle.training.get("split_hash"), split_hash(manifest.frame)
    if not trained:
        notes.append("The bundle does not record the split it was trained on: whether these images were in the "
                     "training set cannot be told.")  # fmt: skip
    elif trained != here:
        notes.append(f"This manifest (split hash {here}) is not the one the bundle was trained on ({trained}): that "
                     "its patients were not trained on has to be known from elsewhere.")  # fmt: skip
    if "train" in names:
        notes.append("Split train was learned from: its numbers say how well the model fits, not how well it works.")
    if "val" in names:
        notes.append("Split val was used to choose checkpoint, threshold and temperature: its numbers are optimistic.")
    frame = manifest.frame
    learned = {p for p in column(frame[frame["split"] == "train"], "patient_id") if p is not None}
    for name in names:
        shared = learned & set(column(frame[frame["split"] == name], "patient_id"))
        if shared and name != "train":
            many = f"{len(shared)} patients" if len(shared) > 1 else "1 patient"
            notes.append(f"Images of {many} of split {name} are also in split train: its numbers may be inflated.")
    return notes


def _command(bundle: Any, manifest: Path, out: Path, split: str | None, repeats: int, seed: int) -> str:
    words = ["covidcx", "evaluate", str(bundle), _shown(manifest), "--out", _shown(out), "--split", split or "all"]
    return shlex.join([*words, "--bootstrap", str(repeats), "--seed", str(seed)])


def _shown(path: Path) -> str:
    """Return a path as one would type it here: relative where it lies below the working folder."""
    path = Path(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
