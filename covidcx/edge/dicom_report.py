"""The structured report of a finding: TID 1500, Measurement Report, as Comprehensive SR. Needs highdicom."""

from copy import deepcopy
from typing import Any

import highdicom.sr as sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr.utils import find_content_items
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from covidcx import __version__
from covidcx.bundle import Bundle
from covidcx.edge.dicom_job import (
    MAKER,
    SCHEME,
    SCHEME_NAME,
    DicomJob,
    algorithm_parameters,
    label_code,
    private_code,
    statement,
)

CLASS = private_code("CLASS", "IMAGE", "Class of the radiograph")
CALLED = private_code("CLASS", "CALLED", "Class at the operating point")
LUNG_SHARE = private_code("LUNG", "SHARE", "Share of the image's pixels")
_MODALITIES = {
    "CR": codes.cid29.ComputedRadiography,
    "DX": codes.cid29.DigitalRadiography,
    "RG": codes.cid29.RadiographicImaging,
}
_QUALITATIVE = Code("C0034375", "UMLS", "Qualitative Evaluations")


def report(job: DicomJob, segmentation: Dataset | None) -> sr.ComprehensiveSR:
    """Make the report: the class and its probabilities, the lungs' area, and what computed them.

    The called class is an evaluation of the image ("class at the operating point"), not a finding of the patient, so
    that no receiver files it as a diagnosis.

    Args:
        job: the finding.
        segmentation: the Segmentation object whose first segment is the lungs, if there is one.

    Returns:
        The report, complete but unverified and preliminary.

    Source: DICOM PS3.16 TID 1500, 1501, 1410, 300, 4019; PS3.3 A.35.3.
    """
    groups: list[Any] = [_classification(job)]
    evidence = [job.header]
    if segmentation is not None:
        groups.append(_lungs(job, segmentation))
        evidence.append(segmentation)
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=job.device_uid(),
        name=f"{MAKER} {job.bundle.name}",
        manufacturer_name=MAKER,
        model_name=job.bundle.name,
        serial_number=job.bundle.checksum,
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        # The only radiography that CID 100 lists; that it is a chest is said by the finding sites.
        procedure_reported=codes.cid100.XRUnspecifiedBodyRegion,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=[_library_entry(job.header)],
    )
    _state_modality(content, job.header)
    said = sr.ContainerContentItem(_QUALITATIVE, relationship_type=sr.RelationshipTypeValues.CONTAINS)
    said.ContentSequence = sr.ContentSequence(
        [_comment(statement(job)), *(_comment(f"Warning: {text}") for text in job.analysis.finding.warnings)]
    )
    content[0].ContentSequence.append(said)
    made = sr.ComprehensiveSR(
        evidence=evidence,
        content=content[0],
        is_complete=True,
        coding_schemes=[CodingSchemeIdentificationItem(SCHEME, SCHEME_NAME, responsible_organization=MAKER)],
        **job.numbers("sr"),
        **job.equipment(),
    )
    return job.finish(made)


def _classification(job: DicomJob) -> sr.MeasurementsAndQualitativeEvaluations:
    finding = job.analysis.finding
    measurements = [
        sr.Measurement(private_code("P", label, f"Probability of {label}"), round(float(value), 6), codes.UCUM.NoUnits)
        for label, value in finding.probabilities.items()
    ]
    measurements += [
        sr.Measurement(
            private_code("T", label, f"Operating point of {label}"),
            round(float(point["threshold"]), 6),
            codes.UCUM.NoUnits,
        )
        for label, point in job.bundle.operating_points.items()
    ]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(job.tracking_uid("class"), f"{MAKER} class of the radiograph"),
        finding_type=CLASS,
        finding_sites=[sr.FindingSite(codes.SCT.Chest)],
        algorithm_id=_algorithm(job.bundle),
        measurements=measurements,
        qualitative_evaluations=[sr.QualitativeEvaluation(CALLED, label_code(finding.label))],
        source_images=[sr.SourceImageForMeasurementGroup(job.header.SOPClassUID, job.header.SOPInstanceUID)],
    )
    group[0].ContentSequence.append(_comment(statement(job)))
    return group


def _lungs(job: DicomJob, segmentation: Dataset) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    lungs, spacing = job.analysis.lungs, job.analysis.radiograph.spacing
    measurements = [sr.Measurement(LUNG_SHARE, round(float(lungs.mean()), 6), codes.UCUM.NoUnits)]
    remarks = [statement(job)]
    if spacing is not None:
        area = round(float(lungs.sum()) * spacing[0] * spacing[1], 2)
        measurements.append(sr.Measurement(codes.SCT.Area, area, codes.UCUM.SquareMillimeter))
        remarks.append("The area is that of the projection, as large as the pixel spacing of the image says; a spacing "
                       "in the detector's plane overstates the body by the radiographic magnification.")  # fmt: skip
    frame = sr.ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        frame_number=1,
        segment_number=1,
        source_image=sr.SourceImageForSegmentation(job.header.SOPClassUID, job.header.SOPInstanceUID),
    )
    # PS3.3 table 10-3 allows a frame number or a segment number, not both as highdicom writes them.
    del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(job.tracking_uid("lungs"), f"{MAKER} lungs"),
        referenced_segment=frame,
        finding_category=codes.SCT.AnatomicalStructure,
        finding_type=codes.SCT.Lung,
        finding_sites=[sr.FindingSite(codes.SCT.Lung, laterality=codes.SCT.Bilateral)],
        algorithm_id=_algorithm(job.segmenter or job.bundle),
        measurements=measurements,
    )
    for text in remarks:
        group[0].ContentSequence.append(_comment(text))
    return group


def _algorithm(bundle: Bundle) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(
        name=f"{MAKER} {bundle.name}",
        version=f"{MAKER} {__version__}, bundle {bundle.checksum[:16]}",
        parameters=algorithm_parameters(bundle),
    )


def _comment(text: str) -> sr.TextContentItem:
    return sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS)


def _library_entry(header: Dataset) -> Dataset:
    """Return the source as the image library describes it.

    highdicom describes projection images by orientation and detector spacing, and fails where a file lacks either.
    The coded modality comes from the SOP class, so that OT here only leaves that description out.
    """
    # Deep, because a copied data set shares its elements with the original.
    entry = deepcopy(header)
    if "PatientOrientation" not in header or "ImagerPixelSpacing" not in header:
        entry.Modality = "OT"
    return entry


def _state_modality(content: sr.MeasurementReport, header: Dataset) -> None:
    """Name the source's own modality: highdicom calls every Secondary Capture OT, which CID 29 does not hold."""
    modality = _MODALITIES.get(str(header.get("Modality") or ""))
    items = find_content_items(content[0], name=codes.DCM.Modality, recursive=True)
    for item in items if modality is not None else ():
        item.ConceptCodeSequence = [sr.CodedConcept.from_code(modality)]
