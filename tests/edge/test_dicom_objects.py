"""DICOM objects of a finding: valid, rightly filed, the same on every run, and nothing of the patient outside them."""

import dataclasses
import itertools
import logging
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from covidcx.bundle import Bundle
from covidcx.data.phantom import phantom
from covidcx.data.phantom.dicom import write_dicom as write_phantom
from covidcx.edge import dicom_objects
from covidcx.edge.dicom_objects import write_dicom
from covidcx.edge.dicom_source import read_header
from covidcx.edge.runtime import Analysis
from covidcx.errors import CovidcxError, MissingDependencyError, UnsupportedImageError
from covidcx.finding import DISCLAIMER, Finding
from covidcx.imaging.overlay import write_png
from covidcx.imaging.read import read

WARNING = "the lungs are hard to make out"
PROBABILITIES = {"normal": 0.125, "cap": 0.25, "covid": 0.625}
IODS = ("SCImage", "Segmentation", "ComprehensiveSR", "CRImage")
PHANTOMS = (1, 3, 4, 16)
"""Seeds whose phantoms are CR and DX, MONOCHROME1 and MONOCHROME2; see `test_phantoms_cover_kinds`."""


@pytest.fixture(scope="session")
def bundle(repo) -> Bundle:
    pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'covidcx[dicom]'")
    return Bundle.open(repo / "saved_models" / "covid-cxnet")


@pytest.fixture
def source(tmp_path) -> Path:
    """A phantom's file, 4 x 3 rather than square."""
    return make_source(tmp_path / "source.dcm", 1)


def make_source(path: Path, seed: int, **changes) -> Path:
    """Write a phantom, cut to 160 x 120, with some of its elements changed; None deletes one, bytes go in raw."""
    made = phantom("covid", seed, 160)
    cut = dataclasses.replace(made, **{
        field.name: value[:, 20:140] for field in dataclasses.fields(made)
        if isinstance(value := getattr(made, field.name), np.ndarray) and value.ndim == 2
    })  # fmt: skip
    write_phantom(path, cut, f"study-{seed}", f"phantom-{seed:04d}", seed)
    header = pydicom.dcmread(path)
    with pydicom.config.disable_value_validation():
        for keyword, value in changes.items():
            if value is None:
                delattr(header, keyword)
            elif isinstance(value, bytes):  # as it stands in a file, whatever pydicom thinks of it
                tag = Tag(tag_for_keyword(keyword))
                header[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
            else:
                setattr(header, keyword, value)
        header.save_as(path)
    return path


def analyse(path: Path, lungs: bool = True) -> Analysis:
    """Mark an L-shaped region, which no flip or turn maps onto itself, as lungs."""
    radiograph = read(path)
    height, width = radiograph.shape
    mask = np.zeros((height, width), bool)
    mask[height // 8 : height // 2, width // 8 : width // 4] = True
    mask[height // 2 : height * 3 // 4, width // 8 : width * 2 // 3] = True
    heat = np.zeros((height, width), np.float32)
    heat[: height // 4, : width // 3] = 1.0
    finding = Finding(
        path.name, "ok", "covid", PROBABILITIES, lung_area=float(mask.mean()), bundle="covid-cxnet", warnings=(WARNING,)
    )
    return Analysis(finding, radiograph, mask if lungs else None, heat)


def write(path: Path, bundle: Bundle, out: Path, **options) -> dict[str, Dataset]:
    """Write the objects of a file and read them back, by kind."""
    out.mkdir(exist_ok=True)
    files = write_dicom(path, analyse(path), bundle, out, "stem", **options)
    return {file.name.split(".")[1]: pydicom.dcmread(file) for file in files}


def dciodvfy(path: Path) -> list[str]:
    """Return the errors that dciodvfy finds in a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    ran = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, errors="replace", timeout=60)
    lines = (ran.stdout + ran.stderr).splitlines()
    assert any(line in IODS for line in lines), f"dciodvfy did not recognise {path.name}: {lines}"
    return [line for line in lines if line.startswith("Error")]


def all_errors(path: Path, bundle: Bundle, out: Path, **options) -> dict[str, list[str]]:
    write(path, bundle, out, **options)
    return {file.name: errors for file in sorted(out.glob("*.dcm")) if (errors := dciodvfy(file))}


def items(node: Dataset):
    """Every content item below a node of a structured report."""
    for item in node.get("ContentSequence") or []:
        yield item
        yield from items(item)


def meaning(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeMeaning


def test_phantoms_cover_kinds(tmp_path):
    made = [pydicom.dcmread(make_source(tmp_path / f"{seed}.dcm", seed)) for seed in PHANTOMS]
    found = {(d.Modality, d.PhotometricInterpretation) for d in made}
    assert found == set(itertools.product(("CR", "DX"), ("MONOCHROME1", "MONOCHROME2")))


@pytest.mark.parametrize("seed", PHANTOMS)
def test_dciodvfy_finds_no_error_for_phantoms(seed, bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", seed)
    disease = np.zeros((160, 120), bool)
    disease[30:50, 20:40] = seed != 4  # a model that looks for disease and finds none marks nothing
    assert all_errors(path, bundle, tmp_path / "out", disease=None if seed == 1 else disease) == {}


def test_dciodvfy_finds_no_error_for_real_files(shared_data, bundle, tmp_path):
    files = [*sorted((shared_data / "dicom").glob("*.dcm")), Path(get_testdata_file("RG1_UNCR.dcm", download=False))]
    assert len(files) == 3
    for number, path in enumerate(files):
        assert dciodvfy(path), f"{path.name} was chosen because it has errors itself"
        assert all_errors(path, bundle, tmp_path / str(number)) == {}


FAULTY = {
    "PatientAge": "62", "PatientSex": "male", "PatientBirthDate": "1960.02.03", "StudyDate": "2020-01-32",
    "StudyTime": "10:20:30", "AccessionNumber": "A" * 20, "StudyID": "I" * 30, "StudyDescription": "x" * 70,
    "ReferringPhysicianName": "a=b=c=d", "Manufacturer": "m" * 80, "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "d" * 90, "PixelSpacing": ["0.0", "0.0"], "ImagerPixelSpacing": None,
    "PatientOrientation": ["RIGHT", "FOOT"], "SeriesNumber": None, "InstanceNumber": None, "BurnedInAnnotation": "No",
    "LossyImageCompression": "01", "FrameOfReferenceUID": "1.2.3", "PatientSize": b"1,80", "PatientWeight": b"heavy ",
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 4])
def test_invalid_values_of_the_source_are_repaired_or_left_out(seed, bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", seed, **FAULTY)
    made = write(path, bundle, tmp_path / "out")
    for name, d in made.items():
        assert (d.PatientAge, d.PatientSex, d.PatientBirthDate) == ("062Y", "", "19600203"), name
        assert (d.StudyDate or "", d.StudyTime, d.AccessionNumber or "") == ("", "102030", ""), name
        assert d.DeidentificationMethod == "Not stated by the source image" and d.InstanceNumber == 1
        assert "StudyDescription" not in d and "FrameOfReferenceUID" not in d
    assert made["sc"].BurnedInAnnotation == "NO" and made["sc"].LossyImageCompression == "01"
    assert [made[kind].SeriesNumber for kind in ("sc", "seg", "sr")] == [901, 902, 903]
    assert not made["seg"].PatientOrientation
    assert "Area" not in {meaning(item) for item in items(made["sr"])}, "no spacing, no area"
    assert all_errors(path, bundle, tmp_path / "out") == {}


def test_missing_attributes_become_empty(bundle, tmp_path):
    missing = ["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
               "StudyTime", "ReferringPhysicianName", "PatientOrientation", "SpecificCharacterSet", "SOPInstanceUID",
               "SOPClassUID", "BurnedInAnnotation", "PatientIdentityRemoved"]  # fmt: skip
    path = make_source(tmp_path / "source.dcm", 1)
    original = pydicom.dcmread(path)
    make_source(path, 1, **dict.fromkeys(missing))
    made = write(path, bundle, tmp_path / "out")
    for d in made.values():
        assert all(keyword in d and not d.get(keyword) for keyword in missing[:9])
    assert made["seg"].SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID, (
        "from the meta header"
    )
    assert "BurnedInAnnotation" not in made["sc"]
    assert all_errors(path, bundle, tmp_path / "out") == {}


def test_objects_join_the_study_in_new_series(source, bundle, tmp_path):
    original, made = pydicom.dcmread(source), write(source, bundle, tmp_path / "out")
    assert list(made) == ["sc", "seg", "sr"] and [d.Modality for d in made.values()] == ["OT", "SEG", "SR"]
    for d in made.values():
        for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "PatientSex", "PatientAge", "StudyDate",
                        "StudyTime", "StudyID", "AccessionNumber", "StudyDescription",
                        "PatientIdentityRemoved"):  # fmt: skip
            assert d.get(keyword) == original.get(keyword), keyword
        assert d.SeriesDescription.startswith("NOT FOR DIAGNOSTIC USE: covidcx")
        assert (d.Manufacturer, d.ManufacturerModelName) == ("covidcx", "covid-cxnet")
        assert d.DeviceSerialNumber == bundle.checksum
    uids = [d.SOPInstanceUID for d in made.values()] + [d.SeriesInstanceUID for d in made.values()]
    assert len({*uids, original.SOPInstanceUID, original.SeriesInstanceUID}) == 8
    assert all(pydicom.uid.UID(uid).is_valid for uid in uids)
    assert [d.SeriesNumber for d in made.values()] == [1901, 1902, 1903]
    assert [d.file_meta.MediaStorageSOPInstanceUID for d in made.values()] == uids[:3]


def test_references_lead_to_the_source_and_the_segmentation(source, bundle, tmp_path):
    original, made = pydicom.dcmread(source), write(source, bundle, tmp_path / "out")
    image = (original.SOPClassUID, original.SOPInstanceUID)

    def told(item: Dataset) -> tuple[str, str]:
        return item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID

    assert told(made["sc"].SourceImageSequence[0]) == image
    seg, series = made["seg"], made["seg"].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == original.SeriesInstanceUID
    assert told(series.ReferencedInstanceSequence[0]) == image == told(seg.SourceImageSequence[0])
    frame = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    assert told(frame) == image
    evidence = made["sr"].CurrentRequestedProcedureEvidenceSequence
    assert [study.StudyInstanceUID for study in evidence] == [original.StudyInstanceUID]
    listed = {s.SeriesInstanceUID: told(s.ReferencedSOPSequence[0]) for s in evidence[0].ReferencedSeriesSequence}
    assert listed == {
        original.SeriesInstanceUID: image,
        seg.SeriesInstanceUID: (seg.SOPClassUID, seg.SOPInstanceUID),
    }
    region = next(item for item in items(made["sr"]) if meaning(item) == "Referenced Segmentation Frame")
    assert region.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == seg.SOPInstanceUID
    tracked = {item.UID for item in items(made["sr"]) if meaning(item) == "Tracking Unique Identifier"}
    assert seg.SegmentSequence[0].TrackingUID in tracked


@pytest.mark.parametrize("seed", PHANTOMS)
def test_segmentation_holds_the_masks_in_the_pixels_of_the_source(seed, bundle, tmp_path):
    import highdicom

    path = make_source(tmp_path / "source.dcm", seed)
    disease = np.zeros((160, 120), bool)
    disease[30:50, 20:45] = True
    made = write(path, bundle, tmp_path / "out", disease=disease)["seg"]
    assert (made.Rows, made.Columns) == (160, 120) and made.SegmentationType == "BINARY"
    assert made.PatientOrientation == pydicom.dcmread(path).PatientOrientation
    np.testing.assert_array_equal(made.pixel_array.astype(bool), np.stack([analyse(path).lungs, disease]))
    read_back = highdicom.seg.segread(tmp_path / "out" / "stem.seg.dcm")
    by_image = read_back.get_pixels_by_source_instance([pydicom.dcmread(path).SOPInstanceUID])
    np.testing.assert_array_equal(by_image[0, ..., 0] == 1, analyse(path).lungs)
    lungs, opacity = made.SegmentSequence
    code = lungs.SegmentedPropertyTypeCodeSequence[0]
    assert (code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning) == ("SCT", "39607008", "Lung")
    algorithm = lungs.SegmentationAlgorithmIdentificationSequence[0]
    segmenter = bundle.open_segmenter()
    assert algorithm.AlgorithmName == "covidcx lung-unet" and segmenter.checksum in algorithm.AlgorithmParameters
    assert opacity.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Abnormal opacity"
    assert "covid-cxnet" in opacity.SegmentAlgorithmName


@pytest.mark.parametrize("orientation", [["R", "F"], ["H", "R"]])
def test_objects_of_a_source_that_was_turned_upright(orientation, bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", 1, PatientOrientation=orientation)
    analysis = analyse(path)
    turn = analysis.radiograph.turn
    assert analysis.radiograph.shape == ((120, 160) if turn.transposed else (160, 120))
    made = write(path, bundle, tmp_path / "out")
    # The segmentation lies in the source's rows and columns, the picture is upright.
    assert (made["seg"].Rows, made["seg"].Columns) == (160, 120) and made["seg"].PatientOrientation == orientation
    marked = made["seg"].pixel_array.astype(bool).reshape(-1, 160, 120)[0]
    np.testing.assert_array_equal(turn.apply(marked), analysis.lungs)
    assert not np.array_equal(marked, analysis.lungs) and made["sc"].PatientOrientation == ["L", "F"]


def test_capture_is_the_overlay_with_a_burned_in_caption(source, bundle, tmp_path):
    made = write(source, bundle, tmp_path / "out")["sc"]
    rgb = made.pixel_array
    assert made.PhotometricInterpretation == "RGB" and rgb.shape[1:] == (120, 3) and rgb.shape[0] > 160
    radiograph, caption = rgb[:160].astype(int), rgb[160:]
    assert (np.ptp(radiograph, axis=2) > 100).any(), "outline and heat are drawn in colour"
    untouched = radiograph[150:, 100:]
    expected = np.round(read(source).pixels[150:, 100:, None] * 255)
    assert np.abs(untouched - expected).max() <= 1, "grey where nothing is drawn"
    assert caption.max() > 200 and np.median(caption) == 0, "white letters on black"
    assert made.BurnedInAnnotation == "YES", "the phantom says so of itself"
    assert "PixelSpacing" not in made and "NOT FOR DIAGNOSTIC USE" in made.ImageComments


def test_large_captures_are_reduced_and_masks_are_not(bundle, tmp_path):
    made = phantom("normal", 3, 1100)
    path = tmp_path / "large.dcm"
    write_phantom(path, made, "study", "phantom-1", 3)
    read_back = write(path, bundle, tmp_path / "out")
    assert read_back["sc"].Columns == 1024 and read_back["seg"].Columns == 1100


def test_report_tells_probabilities_operating_point_class_and_model(source, bundle, tmp_path):
    report = write(source, bundle, tmp_path / "out")["sr"]
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    numbers = {
        meaning(item): (float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue)
        for item in items(report) if item.ValueType == "NUM" for value in item.MeasuredValueSequence
    }  # fmt: skip
    for label, probability in PROBABILITIES.items():
        assert numbers[f"Probability of {label}"] == (probability, "1")
    threshold = bundle.operating_points["covid"]["threshold"]
    assert numbers["Operating point of covid"][0] == pytest.approx(threshold, abs=1e-6)
    lungs = analyse(source).lungs
    assert numbers["Share of the image's pixels"] == (pytest.approx(lungs.mean(), abs=1e-6), "1")
    rows, columns = read(source).spacing
    assert numbers["Area"] == (pytest.approx(lungs.sum() * rows * columns, abs=0.01), "mm2")
    called = next(item for item in items(report) if meaning(item) == "Class at the operating point")
    code = called.ConceptCodeSequence[0]
    assert (code.CodingSchemeDesignator, code.CodeValue) == ("SCT", "840539006")
    findings = [i.ConceptCodeSequence[0].CodeMeaning for i in items(report) if meaning(i) == "Finding"]
    assert findings == ["Class of the radiograph", "Lung"], "no disease is filed as a finding of the patient"
    texts = [item.TextValue for item in items(report) if item.ValueType == "TEXT"]
    for checksum in (bundle.checksum, bundle.open_segmenter().checksum):
        assert f"bundle sha256 {checksum}" in texts
    assert any("operating point covid >= 0.43" in text and "youden" in text for text in texts)
    assert texts.count(f"NOT FOR DIAGNOSTIC USE. {DISCLAIMER}") == 3, "in each group and for the whole report"
    assert f"Warning: {WARNING}" in texts
    observers = [i.ConceptCodeSequence[0].CodeMeaning for i in items(report) if meaning(i) == "Observer Type"]
    assert observers == ["Device"]
    schemes = [item.CodingSchemeDesignator for item in report.CodingSchemeIdentificationSequence]
    assert schemes == ["99COVIDCX"]


def test_highdicom_reads_the_measurement_groups(source, bundle, tmp_path):
    write(source, bundle, tmp_path / "out")
    from highdicom.sr import srread

    content = srread(tmp_path / "out" / "stem.sr.dcm").content
    (region,) = content.get_planar_roi_measurement_groups()
    assert region.finding_type.meaning == "Lung" and len(region.get_measurements()) == 2
    (image,) = content.get_image_measurement_groups()
    assert len(image.get_measurements()) == 4 and len(image.get_qualitative_evaluations()) == 1


def test_dcmtk_reads_the_report(source, bundle, tmp_path):
    if shutil.which("dsrdump") is None:
        pytest.skip("dsrdump is not installed: apt-get install dcmtk")
    write(source, bundle, tmp_path / "out")
    ran = subprocess.run(["dsrdump", str(tmp_path / "out" / "stem.sr.dcm")], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0 and "E:" not in ran.stderr
    assert '(,,"Probability of covid")="0.625"' in ran.stdout


def test_labels_without_a_public_code_get_a_private_one(source, bundle, tmp_path):
    analysis = analyse(source)
    long = "opacity of undetermined appearance, with effusion"
    finding = dataclasses.replace(analysis.finding, label=long, probabilities={"ähnlich": 0.25, long: 0.75})
    write_dicom(source, dataclasses.replace(analysis, finding=finding), bundle, tmp_path, "stem")
    report = pydicom.dcmread(tmp_path / "stem.sr.dcm")
    codes = [item.ConceptNameCodeSequence[0] for item in items(report) if meaning(item).startswith("Probability of")]
    assert len({code.CodeValue for code in codes}) == 2 and {c.CodingSchemeDesignator for c in codes} == {"99COVIDCX"}
    called = next(item for item in items(report) if meaning(item) == "Class at the operating point")
    assert called.ConceptCodeSequence[0].CodeMeaning == long
    assert dciodvfy(tmp_path / "stem.sr.dcm") == []


class Later(datetime):
    """The clock of a run a year from now."""

    @classmethod
    def now(cls, tz=None):
        return datetime(2031, 1, 2, 3, 4, 5)


def test_a_repeated_run_writes_the_same_bytes(source, bundle, tmp_path, monkeypatch):
    write(source, bundle, tmp_path / "out")
    first = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert sorted(first) == ["stem.sc.dcm", "stem.seg.dcm", "stem.sr.dcm"], "no partial files are left"
    monkeypatch.setattr(dicom_objects, "datetime", Later)
    (tmp_path / "out" / "stem.sr.dcm").unlink()  # as after a kill
    write(source, bundle, tmp_path / "out")
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == first
    elsewhere = write(source, bundle, tmp_path / "elsewhere")
    assert elsewhere["sr"].ContentDate == "20310102"
    for kind, d in elsewhere.items():
        old = pydicom.dcmread(tmp_path / "out" / f"stem.{kind}.dcm")
        assert (d.SOPInstanceUID, d.SeriesInstanceUID) == (old.SOPInstanceUID, old.SeriesInstanceUID)


def test_uids_change_with_the_model_and_the_pixels_but_not_with_the_name(source, bundle, tmp_path):
    def uids(made: dict[str, Dataset]) -> set[str]:
        return {d.SOPInstanceUID for d in made.values()}

    first = uids(write(source, bundle, tmp_path / "a"))
    other = dataclasses.replace(bundle, checksum="0" * 64)
    assert not first & uids(write(source, other, tmp_path / "b"))
    renamed = make_source(tmp_path / "renamed.dcm", 1, PatientName="Phantom^Renamed")
    made = write(renamed, bundle, tmp_path / "a")
    assert uids(made) == first and made["sr"].PatientName == "Phantom^Renamed"
    data = pydicom.dcmread(source)
    data.PixelData = bytes(len(data.PixelData) // 2) + data.PixelData[len(data.PixelData) // 2 :]
    data.save_as(source)
    assert not first & uids(write(source, bundle, tmp_path / "c")), "one UID never stands for two contents"


def test_images_of_a_series_share_the_new_series(bundle, tmp_path):
    made = []
    for number in (1, 2):
        path = make_source(
            tmp_path / f"{number}.dcm", number, StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4",
            InstanceNumber=number,
        )  # fmt: skip
        made.append(write(path, bundle, tmp_path / f"out{number}"))
    for kind in ("sc", "seg", "sr"):
        one, two = made[0][kind], made[1][kind]
        assert one.SeriesInstanceUID == two.SeriesInstanceUID and one.SeriesNumber == two.SeriesNumber
        assert one.SOPInstanceUID != two.SOPInstanceUID and (one.InstanceNumber, two.InstanceNumber) == (1, 2)


def test_without_lungs_there_is_no_segmentation(source, bundle, tmp_path):
    lone = dataclasses.replace(bundle, segmenter=None)
    files = write_dicom(source, analyse(source, lungs=False), lone, tmp_path, "stem")
    assert [file.name for file in files] == ["stem.sc.dcm", "stem.sr.dcm"]
    assert all(dciodvfy(file) == [] for file in files)


@pytest.mark.parametrize(
    "charset, name", [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう")]
)
def test_names_in_other_scripts_arrive(charset, name, bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", 2, SpecificCharacterSet=charset, PatientName=name)
    for d in write(path, bundle, tmp_path / "out").values():
        assert str(d.PatientName) == name
    assert all_errors(path, bundle, tmp_path / "out") == {}


def test_nothing_of_the_patient_gets_into_names_logs_or_streams(source, bundle, tmp_path, caplog, capfd):
    secret = {"PatientName": "Geheim Person", "PatientID": "ID-98765", "AccessionNumber": "ACCESSION-TOO-LONG-55555"}
    make_source(source, 1, **secret, ReferringPhysicianName="a=b=c=Doktor", StudyDate="nie")
    with caplog.at_level(logging.DEBUG):
        write_dicom(source, analyse(source), bundle, tmp_path, "stem")
        uid = str(pydicom.dcmread(source).SOPInstanceUID)
        caplog_text, (shown, errors) = caplog.text, capfd.readouterr()
    for told in (caplog_text, shown, errors):
        assert not any(word in told for word in ("Geheim", "98765", "55555", "Doktor", uid))
    assert "an invalid AccessionNumber was left out" in caplog_text


def test_a_picture_has_no_study_to_go_into(source, bundle, tmp_path):
    picture = write_png(tmp_path / "chest.png", np.full((160, 120), 90, np.uint8))
    with pytest.raises(UnsupportedImageError, match=r"chest\.png: no DICOM objects can be made from a PNG"):
        write_dicom(picture, analyse(source), bundle, tmp_path, "stem")
    assert not list(tmp_path.glob("stem*"))


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value, state", [(None, "missing"), ("", "missing"), ("1.2.x", "no valid UID")])
def test_a_source_without_study_or_series_is_refused(keyword, value, state, bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", 1, **{keyword: value})
    with pytest.raises(UnsupportedImageError, match=f"the {keyword} is {state}"):
        write_dicom(path, analyse(path), bundle, tmp_path, "stem")


def test_a_uid_with_leading_zeros_is_kept_for_it_names_the_study(bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", 1, StudyInstanceUID="1.2.003")
    made = write(path, bundle, tmp_path / "out")
    assert {str(d.StudyInstanceUID) for d in made.values()} == {"1.2.003"}


def test_a_patient_id_that_cannot_be_kept_is_refused_without_being_told(bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", 1, PatientID="9" * 65)
    with pytest.raises(UnsupportedImageError, match="longer than 64 characters") as caught:
        write_dicom(path, analyse(path), bundle, tmp_path, "stem")
    assert "999" not in str(caught.value)


def test_an_unknown_sop_class_ends_in_one_line(bundle, tmp_path):
    path = make_source(tmp_path / "source.dcm", 1, SOPClassUID="1.2.3.4.5")
    with pytest.raises(CovidcxError, match=r"no DICOM objects could be made from this header \(KeyError\)") as caught:
        write_dicom(path, analyse(path), bundle, tmp_path, "stem")
    assert caught.value.__suppress_context__, "the cause may quote the patient"
    assert not list(tmp_path.glob("stem*")), "nothing is written before everything is made"


def test_the_analysis_has_to_be_of_this_file(source, bundle, tmp_path):
    analysis = analyse(source)
    other = make_source(tmp_path / "other.dcm", 1, Rows=120, Columns=160)
    with pytest.raises(CovidcxError, match="120 x 160 pixels, the analysis's radiograph"):
        write_dicom(other, analysis, bundle, tmp_path, "stem")
    refused = dataclasses.replace(analysis, finding=Finding("x", "refused", reason="a leg"))
    with pytest.raises(CovidcxError, match="status 'refused'"):
        write_dicom(source, refused, bundle, tmp_path, "stem")


def test_header_keeps_a_coded_deidentification(tmp_path):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "113100", "DCM", "Basic Profile"
    path = make_source(
        tmp_path / "source.dcm", 1, DeidentificationMethodCodeSequence=[item], DeidentificationMethod=None
    )
    assert read_header(path).DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_missing_highdicom_names_the_install_command(source, repo, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'covidcx\[dicom\]'"):
        write_dicom(source, analyse(source), Bundle.open(repo / "saved_models" / "covid-cxnet"), tmp_path, "stem")


def test_importing_the_edge_room_does_not_import_highdicom():
    code = "import sys, covidcx.edge.dicom_objects; sys.exit('highdicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
