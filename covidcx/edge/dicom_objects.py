"""A finding as DICOM objects for the study of its image: overlay picture, lung segmentation, structured report."""

import io
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from covidcx import __version__
from covidcx.atomic import write_atomic
from covidcx.bundle import Bundle
from covidcx.edge.dicom_job import MAKER, NOT_DIAGNOSTIC, DicomJob, algorithm_parameters, statement
from covidcx.edge.dicom_source import quiet, read_header
from covidcx.edge.picture import scaled
from covidcx.edge.runtime import Analysis
from covidcx.errors import CovidcxError, MissingDependencyError
from covidcx.imaging.orientation import UPRIGHT
from covidcx.imaging.overlay import overlay

log = logging.getLogger(__name__)

_BOTH_SIDES = codes.SCT.Bilateral


def write_dicom(
    source: Path,
    analysis: Analysis,
    bundle: Bundle,
    out: Path,
    stem: str,
    *,
    segmenter: Bundle | None = None,
    disease: np.ndarray | None = None,
) -> list[Path]:
    """Write a finding as DICOM objects: `STEM.sc.dcm`, `STEM.seg.dcm` (where lungs were marked) and `STEM.sr.dcm`.

    The objects belong to the study and patient of the source and to new series. Their UIDs follow from the source and
    the bundles: a repeated run writes the same bytes, and an archive receives nothing twice.

    Args:
        source: the DICOM file that was analysed.
        analysis: what was found in it, of status `ok`.
        bundle: the classifier that answered.
        out: an existing folder.
        stem: how the files are called; it must not identify the patient.
        segmenter: the classifier's lung segmenter; opened by name if not given.
        disease: bool, H x W in the source's pixels: a second segment, for models that mark disease.

    Returns:
        The files, each complete, the report last.

    Raises:
        MissingDependencyError: highdicom is not installed.
        UnsupportedImageError: the source is a picture, or names no study, series or image.
        CovidcxError: the analysis has no class or is not of this file, or the source's SOP class is unknown.

    Source: DICOM PS3.3 A.8.1 (Secondary Capture), A.51 (Segmentation), A.35.3 (Comprehensive SR).
    """
    require_highdicom()
    source = Path(source)
    header = read_header(source)
    _check(source.name, header, analysis, disease)
    if segmenter is None:
        segmenter = bundle.open_segmenter()
    disease = None if disease is None else np.asarray(disease, bool)
    job = DicomJob(header, analysis, bundle, segmenter, disease, datetime.now().replace(microsecond=0))
    files = {kind: out / f"{stem}.{kind}.dcm" for kind in ("sc", "seg", "sr")}
    with quiet(), _highdicom_quiet():
        job = _with_first_time(job, files["sc"])
        try:
            made = {"sc": capture(job), "seg": segmentation(job)}
            from covidcx.edge.dicom_report import report

            made["sr"] = report(job, made["seg"])
            content = {kind: _encode(ds) for kind, ds in made.items() if ds is not None}
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            # Without its cause, whose message may quote the patient, even in a traceback.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.debug("%s in %s, line %s", type(error).__name__, where.filename, where.lineno)
            raise CovidcxError(
                f"{source.name}: no DICOM objects could be made from this header ({type(error).__name__}); check the "
                "file with dciodvfy, and report it if it is sound"
            ) from None
    for kind, encoded in content.items():
        write_atomic(files[kind], encoded)
    return [files[kind] for kind in content]


def require_highdicom() -> None:
    """Check that DICOM objects can be made, as a batch does before its first file.

    Raises:
        MissingDependencyError: highdicom is not installed.
    """
    try:
        import highdicom  # noqa: F401 - asked only whether it is there
    except ImportError as error:
        raise MissingDependencyError(
            f"DICOM objects need highdicom, which is not installed ({error}); install it with: "
            "pip install 'covidcx[dicom]'"
        ) from error


def capture(job: DicomJob) -> Dataset:
    """Make the Secondary Capture: the radiograph with lungs and heat map, and a caption burned in.

    It carries no pixel spacing, since nothing is to be measured on it. Burned In Annotation is about the patient's
    identity, which the caption does not add: the source's statement is kept, and left out where there is none.
    """
    from highdicom.sc import SCImage

    header = job.header
    made = SCImage(
        pixel_array=picture(job.analysis),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        # Replaced below: highdicom asks for an orientation, and a source need not have one.
        patient_orientation=("L", "F"),
        study_instance_uid=header.StudyInstanceUID,
        patient_id=header.PatientID,
        patient_name=header.PatientName,
        patient_birth_date=header.PatientBirthDate,
        patient_sex=header.PatientSex,
        accession_number=header.AccessionNumber,
        study_id=header.StudyID,
        study_date=header.StudyDate or None,
        study_time=header.StudyTime or None,
        referring_physician_name=header.ReferringPhysicianName,
        **job.numbers("sc"),
        **job.equipment(),
    )
    made.copy_patient_and_study_information(header)
    # The picture shows the upright image, whichever way the source's rows and columns run.
    upright = job.analysis.radiograph.turn == UPRIGHT
    made.PatientOrientation = header.get("PatientOrientation") if upright else ["L", "F"]
    made.ConversionType = "WSD"
    made.BodyPartExamined = "CHEST"
    made.ImageComments = statement(job)
    made.DerivationDescription = "Lung outline, heat map and caption drawn on the source image"
    if "BurnedInAnnotation" in header:
        made.BurnedInAnnotation = header.BurnedInAnnotation
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in header:
            made[keyword] = header[keyword]
    made.SourceImageSequence = [_reference(header, codes.DCM.SourceImageForImageProcessingOperation)]
    return job.finish(made)


def segmentation(job: DicomJob) -> Dataset | None:
    """Make the binary Segmentation in the source's own pixels: lungs first, then disease; None without lungs."""
    if job.analysis.lungs is None:
        return None
    from highdicom.seg import Segmentation

    # Found in the upright image; the source's own rows and columns may run another way.
    turn = job.analysis.radiograph.turn
    masks = [turn.undo(job.analysis.lungs)]
    segments = [_segment(job, 1, "Lungs", codes.SCT.AnatomicalStructure, codes.SCT.Lung)]
    if job.disease is not None:
        masks.append(turn.undo(job.disease))
        kind = codes.SCT.MorphologicallyAbnormalStructure
        segments.append(_segment(job, 2, "Abnormal opacity", kind, codes.DCM.AbnormalOpacity))
    made = Segmentation(
        source_images=[job.header],
        pixel_array=np.stack(masks, axis=-1)[None].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=segments,
        content_label="LUNGS",
        content_description=f"{NOT_DIAGNOSTIC}: {MAKER} lungs",
        # Frame N is segment N, which the report relies on.
        omit_empty_frames=False,
        **job.numbers("seg"),
        **job.equipment(),
    )
    dimensions = job.uid("seg dimensions")
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    # Without a frame of reference this is all that tells left from right; highdicom leaves it out.
    made.PatientOrientation = job.header.get("PatientOrientation")
    return job.finish(made)


def picture(analysis: Analysis) -> np.ndarray:
    """Draw the overlay with a caption that says what it is not for: uint8, H x W x 3, RGB."""
    pixels, lungs, heat = scaled(analysis)
    finding = analysis.finding
    called = f"{finding.label} {finding.probabilities[finding.label]:.2f} ({finding.bundle})"
    return overlay(pixels, lungs, heat, caption=f"{NOT_DIAGNOSTIC}. {called}. {finding.disclaimer}")


def _segment(job: DicomJob, number: int, label: str, category: Code, kind: Code) -> Dataset:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from highdicom.sr import CodedConcept

    bundle = (job.segmenter if number == 1 else None) or job.bundle
    algorithm = AlgorithmIdentificationSequence(
        name=f"{MAKER} {bundle.name}"[:64],
        family=codes.cid7162.ArtificialIntelligence,
        version=f"{MAKER} {__version__}, bundle {bundle.checksum[:16]}",
        source=MAKER,
    )
    algorithm[0].AlgorithmParameters = "\n".join(algorithm_parameters(bundle))
    made = SegmentDescription(
        number, label, category, kind, "AUTOMATIC", algorithm,
        tracking_uid=job.tracking_uid(label.lower()), tracking_id=f"{MAKER} {label.lower()}",
        anatomic_regions=None if kind == codes.SCT.Lung else [codes.SCT.Lung],
    )  # fmt: skip
    if kind == codes.SCT.Lung:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            CodedConcept.from_code(_BOTH_SIDES)
        ]
    made.SegmentDescription = statement(job)
    return made


def _reference(header: Dataset, purpose: Code) -> Dataset:
    from highdicom.sr import CodedConcept

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(purpose)]
    return item


def _check(name: str, header: Dataset, analysis: Analysis, disease: np.ndarray | None) -> None:
    finding, shape = analysis.finding, (header.Rows, header.Columns)
    if analysis.radiograph.turn.transposed:
        shape = shape[::-1]
    if finding.status != "ok" or finding.label is None:
        raise CovidcxError(f"{name}: the finding is of status {finding.status!r}; only an answer becomes DICOM objects")
    for what, array in (("radiograph", analysis.radiograph.pixels), ("lungs", analysis.lungs), ("disease", disease)):
        if array is not None and array.shape != shape:
            raise CovidcxError(
                f"{name}: its image has {shape[0]} x {shape[1]} pixels, the analysis's {what} {array.shape}; give the "
                "file that was analysed"
            )


def _with_first_time(job: DicomJob, path: Path) -> DicomJob:
    """Keep the time at which an earlier run made the same objects here, so that a repeated run changes no byte."""
    try:
        earlier = pydicom.dcmread(
            path, specific_tags=["SOPInstanceUID", "InstanceCreationDate", "InstanceCreationTime"]
        )
        if earlier.SOPInstanceUID == job.uid("sc"):
            created = datetime.strptime(f"{earlier.InstanceCreationDate}{earlier.InstanceCreationTime}", "%Y%m%d%H%M%S")
            return DicomJob(job.header, job.analysis, job.bundle, job.segmenter, job.disease, created)
    except (OSError, ValueError, AttributeError, pydicom.errors.InvalidDicomError):
        pass  # no earlier run, or something else by that name, which is replaced
    return job


def _encode(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def _highdicom_quiet() -> Iterator[None]:
    """Keep highdicom's log, which quotes names and UIDs, from the handlers of this process."""
    source, silent = logging.getLogger("highdicom"), logging.NullHandler()
    propagate, source.propagate = source.propagate, False
    source.addHandler(silent)
    try:
        yield
    finally:
        source.propagate = propagate
        source.removeHandler(silent)
