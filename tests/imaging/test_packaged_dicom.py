"""Every file that pydicom and pydicom-data carry: over 200 of other writers, most of them no chest radiograph."""

import importlib.util
import io
import logging
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data.data_manager
import pytest
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ImplicitVRLittleEndian

from covidcx.errors import CovidcxError, UnreadableImageError, UnsupportedImageError
from covidcx.imaging import dicom
from covidcx.imaging.read import read

SITE = Path(pydicom.data.data_manager.__file__).parents[2]
# Not `pydicom.data.get_testdata_files`, which would download what is missing.
PYDICOM = [SITE / "pydicom/data" / name for name in ("test_files", "charset_files", "palettes")]
STORE = SITE / "data_store/data"
CHESTS = {"RG1_J2KI.dcm", "RG1_J2KR.dcm", "RG1_UNCI.dcm", "RG1_UNCR.dcm"}
needs_store = pytest.mark.skipif(
    importlib.util.find_spec("data_store") is None or not STORE.is_dir(),
    reason="pydicom-data is not installed; pip install pydicom-data (it is in the dev and demo extras)",
)


def files_in(*folders: Path) -> list[Path]:
    found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.suffix not in (".py", ".pyc"))


def identity(path: Path) -> list[str]:
    """What a header says about a patient that is longer than a unit or a code."""
    keywords = ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber", "InstitutionName",
                "ReferringPhysicianName", "SOPInstanceUID", "StudyInstanceUID", "StudyDescription")  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            found = [str(data.get(keyword) or "") for keyword in keywords]
        except Exception:  # what pydicom makes of a file that is no DICOM is not the matter here
            return []
    return [text for text in found if len(text) > 5]


def survey(paths: list[Path]) -> tuple[set[str], Counter[str]]:
    """Read every file; return the names of those that read, and how often each kind of refusal came."""
    done, refused = set(), Counter()
    for path in paths:
        try:
            radiograph = read(path)
        except CovidcxError as error:
            text = str(error).removeprefix(f"{path.name}: ")
            assert "\n" not in text and ";" in text, f"{path.name}: says what, and what to do? {text}"
            assert not [secret for secret in identity(path) if secret.lower() in text.lower()], path.name
            refused[text.split(";")[0]] += 1
        else:
            assert radiograph.pixels.min() >= 0 and radiograph.pixels.max() <= 1
            done.add(path.name)
    return done, refused


def test_every_file_of_pydicom_reads_or_is_refused(capfd, caplog):
    caplog.set_level(logging.INFO)
    paths = files_in(*PYDICOM)
    assert len(paths) > 90
    done, refused = survey(paths)
    # The three chest headers among the character set files have lost the end of their pixels.
    assert not done
    assert len(done) + refused.total() == len(paths)
    assert refused["the DICOM modality is CT"] and refused["the DICOM modality is MR"]
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.name.startswith("covidcx")]


@needs_store
def test_every_file_of_pydicom_data_reads_or_is_refused(capfd):
    paths = files_in(STORE)
    assert len(paths) >= 60 and len(paths) + len(files_in(*PYDICOM)) > 200
    done, refused = survey(paths)
    assert done == CHESTS
    assert len(done) + refused.total() == len(paths)
    assert not [reason for reason in refused if "decode" in reason]
    assert capfd.readouterr() == ("", "")


def test_cut_off_and_joined_files_of_others_read_or_are_refused(tmp_path):
    """The first 300, 1,000 and 90% of the bytes of every small file, and two files one after the other."""
    paths = [path for path in files_in(*PYDICOM) if path.stat().st_size < 50_000]
    path = tmp_path / "cut.dcm"
    for number, source in enumerate(paths):
        data = source.read_bytes()
        for part in (data[:300], data[:1000], data[: len(data) * 9 // 10], data + paths[number - 1].read_bytes()):
            path.write_bytes(part)
            try:
                assert read(path).pixels.ndim == 2
            except CovidcxError as error:
                assert "\n" not in str(error)


def test_pixels_agree_with_pydicom(monkeypatch):
    """With the modality check off, CT, MR and NM files exercise codecs and look-up tables of other writers."""
    monkeypatch.setattr(dicom, "check_kind", lambda header: "CR")
    monkeypatch.setattr(dicom, "check_view", lambda header: None)
    agreed = set()
    for path in files_in(*PYDICOM, STORE):
        if path.stat().st_size > 300_000 or path.name.startswith("IM0000"):
            continue
        try:
            ours = read(path).pixels
        except CovidcxError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, force=True)
            data.file_meta.setdefault("TransferSyntaxUID", ImplicitVRLittleEndian)
            if "PixelPaddingValue" in data or data.SamplesPerPixel == 3:
                continue
            values = apply_modality_lut(data.pixel_array, data)
            shown = apply_voi_lut(values, data).astype(float)
        if data.get("VOILUTSequence"):
            theirs = shown / (2 ** data.VOILUTSequence[0].LUTDescriptor[2] - 1)
        elif data.get("WindowWidth") is None:
            theirs = (values - values.min()) / (values.max() - values.min())
        else:
            # pydicom maps to the range of possible values; ours is 0..1, and where both saturate they must agree.
            low, high = (apply_voi_lut(np.array([x]), data)[0] for x in (-1e9, 1e9))
            theirs = (shown - low) / (high - low)
        if data.PhotometricInterpretation == "MONOCHROME1":
            theirs = 1 - theirs
        if data.get("PatientOrientation") == ["R", "F"]:
            theirs = theirs[:, ::-1]
        np.testing.assert_allclose(ours, theirs, atol=1e-5, err_msg=path.name)
        agreed.add(path.name)
    assert {"MR_small_RLE.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "image_dfl.dcm"} <= agreed
    assert len(agreed) >= 12


def test_lossy_and_colour_captures_of_others_decode(monkeypatch):
    """Test cards, let in by taking the checks off: 8-bit RGB and YBR of every coding must give the same grey."""
    monkeypatch.setattr(dicom, "check_kind", lambda header: "OT")
    monkeypatch.setattr("covidcx.imaging.picture.COLOUR_SHARE", 1.0)
    folder = PYDICOM[0]
    card = read(folder / "SC_rgb_dcmtk_+eb+cr.dcm").pixels if (folder / "SC_rgb_dcmtk_+eb+cr.dcm").is_file() else None
    assert card is not None and card.std() > 0.1
    tolerance = {
        "SC_rgb_gdcm_KY.dcm": 0.004, "SC_rgb_rle.dcm": 0.004, "SC_rgb_jpeg_gdcm.dcm": 0.004,
        "SC_rgb_dcmtk_+eb+cy+np.dcm": 0.035, "SC_rgb_dcmtk_+eb+cy+s4.dcm": 0.035, "SC_rgb_dcmtk_+eb+cy+s2.dcm": 0.035,
        "SC_rgb_jpeg_dcmtk.dcm": 0.035, "SC_rgb_jpeg_lossy_gdcm.dcm": 0.035, "SC_ybr_full_422_uncompressed.dcm": 0.035,
        "SC_rgb_jls_lossy_line.dcm": 0.05, "SC_rgb_jls_lossy_sample.dcm": 0.05,
    }  # fmt: skip
    for name, allowed in tolerance.items():
        assert np.abs(read(folder / name).pixels - card).max() <= allowed + 1e-6, name


def test_12_bit_lossy_jpeg_is_refused_with_what_to_do(monkeypatch):
    """No codec whose licence allows it to be installed by default decodes JPEG Extended of 12 bits."""
    monkeypatch.setattr(dicom, "check_kind", lambda header: "CR")
    with pytest.raises(UnreadableImageError, match=r"JPEG Extended.*12-bit JPEG.*convert it to Explicit VR Little"):
        read(PYDICOM[0] / "JPGExtended.dcm")


@needs_store
def test_real_15_bit_monochrome1_chest():
    path = STORE / "RG1_UNCR.dcm"
    radiograph = read(path)
    assert (radiograph.shape, radiograph.view, radiograph.bits) == ((1955, 1841), "PA", 15)
    assert (radiograph.sex, radiograph.spacing, radiograph.photometric) == ("F", None, "MONOCHROME1")
    stored = pydicom.dcmread(path).pixel_array.astype(float)
    np.testing.assert_allclose(radiograph.pixels, 1 - np.clip((stored - 14999.5) / 29999 + 0.5, 0, 1), atol=1e-6)
    # Lungs are darker than the mediastinum between them and the abdomen below.
    lungs = radiograph.pixels[500:900, [450, 1350]].mean()
    assert lungs < radiograph.pixels[500:900, 900].mean() - 0.1
    assert lungs < radiograph.pixels[1700:1800, 400:600].mean() - 0.1
    compressed = STORE / "RG1_J2KR.dcm"
    np.testing.assert_array_equal(read(compressed).pixels, radiograph.pixels)


@needs_store
def test_real_leg_is_refused_and_is_mirrored_as_its_header_says(monkeypatch, caplog):
    path = STORE / "RG3_UNCR.dcm"
    with pytest.raises(UnsupportedImageError, match="EXTREMITY"):
        read(path)
    monkeypatch.setattr(dicom, "check_kind", lambda header: "CR")
    caplog.set_level(logging.INFO)
    leg = read(path)
    assert "turned upright" in caplog.text
    # Patient Orientation R\F: the lead letter R, stored in mirror writing at the right, now reads right at the left.
    stored = pydicom.dcmread(path).pixel_array
    window = np.clip((stored - 549.5) / 1023 + 0.5, 0, 1)
    np.testing.assert_allclose(leg.pixels, 1 - window[:, ::-1], atol=1e-6)
    letter = leg.pixels[1370:1480, 525:625] > 0.6
    assert 0.05 < letter.mean() < 0.9


@needs_store
@pytest.mark.parametrize("name", ["RG1_UNCI.dcm", "RG1_J2KI.dcm"])
def test_cut_off_anywhere_a_real_chest_is_refused(tmp_path, name):
    data = (STORE / name).read_bytes()
    for share in (0.0001, 0.01, 0.5, 0.999):
        path = tmp_path / "cut.dcm"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises((UnreadableImageError, UnsupportedImageError)):
            read(path)


def test_a_file_in_memory_is_not_mistaken_for_a_path():
    with pytest.raises(TypeError):
        read(io.BytesIO(b""))
