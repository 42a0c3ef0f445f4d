"""What a DICOM header says was X-rayed: a plain radiograph or not, which part of the body, from which side."""

import re

from pydicom.dataset import Dataset

from covidcx.errors import UnsupportedImageError

# Computed radiography, digital radiography, and RG: conventional film, digitised. All three are plain projections.
MODALITIES = ("CR", "DX", "RG")

_OTHER_MODALITIES = (
    "AU", "BMD", "CT", "DOC", "ECG", "ES", "GM", "IO", "IVUS", "KO", "MG", "MR", "NM", "OCT", "OP", "OT", "PR", "PT",
    "PX", "REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "RTRECORD", "RTSTRUCT", "SC", "SEG", "SM", "SR", "US", "XA", "XC",
)  # fmt: skip
_CR_DX_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
}
# The device that wrote the file, not the one that took the image: a PACS workstation, a film or a video digitiser.
_CAPTURE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.2", "1.2.840.10008.5.1.4.1.1.7.3",
    "1.2.840.10008.5.1.4.1.1.7.4",
)  # fmt: skip
# What Modality says where it does not name a device: nothing, "other", the class itself, or an old name of DX.
_VAGUE = ("", "OT", "SC", "DR")
_NO_CAPTURE = {"SD": "a scanned document", "DRW": "a drawing", "SYN": "a synthetic image"}

# Letters only, upper case. A body part that names both (CHESTABDOMEN) is taken as a chest; an unknown word as well.
_CHEST = ("CHEST", "THORAX", "TORAX", "LUNG", "PULMO", "PECHO", "POITRINE", "BRUST", "RIB", "CXR")
_NOT_CHEST = (
    "SPINE", "EXTREMITY", "SKULL", "HEAD", "BRAIN", "NECK", "SINUS", "ORBIT", "MANDIBLE", "MAXILLA", "TEETH", "TOOTH",
    "ABDOMEN", "KUB", "PELVIS", "HIP", "SACRUM", "COCCYX", "LEG", "FEMUR", "THIGH", "KNEE", "PATELLA", "TIBIA",
    "FIBULA", "CALF", "ANKLE", "HEEL", "CALCANEUS", "FOOT", "FEET", "TOE", "ARM", "HUMERUS", "ELBOW", "RADIUS", "ULNA",
    "WRIST", "HAND", "FINGER", "THUMB", "SHOULDER", "CLAVICLE", "SCAPULA", "BREAST",
)  # fmt: skip

# Context group CID 4010 (PS3.16), SNOMED CT and the SNOMED RT codes that older files carry.
_VIEW_CODES = {
    "399348003": "AP", "R-10206": "AP", "272479007": "PA", "R-40888": "PA",
    "399067008": "LATERAL", "R-102CD": "LATERAL", "399198007": "LATERAL", "R-10232": "LATERAL",
    "399173006": "LATERAL", "R-10236": "LATERAL", "399352003": "LATERAL", "R-10228": "LATERAL",
    "399260004": "LATERAL", "R-10224": "LATERAL",
}  # fmt: skip
_LATERAL = {"LL", "RL", "LAT", "LLAT", "RLAT", "LATL", "LATR", "LATERAL", "LM", "ML"}
_OBLIQUE = {"LLO", "RLO", "LMO", "MLO", "LAO", "RAO", "LPO", "RPO", "OBL", "OBLIQUE"}
_DECUBITUS = {"LLD", "RLD", "DECUBITUS", "DECUB"}


def check_kind(header: Dataset) -> str:
    """Return the modality of a plain radiograph; refuse all else.

    A vague modality (none, `OT`, `SC`, `DR`) is settled by the SOP class. A secondary capture passes as `OT` where body
    part or anatomic region names a chest, for a capture can show anything. Fluoroscopy and angiography (RF, XA) are no
    plain radiographs, nor is mammography one of the chest.

    Args:
        header: the elements of the series, image and SC equipment modules.

    Returns:
        `CR`, `DX`, `RG`, or `OT` for the capture of a chest radiograph.

    Raises:
        UnsupportedImageError: another modality or body part, raw detector data, an animal.

    Source: DICOM PS3.3 C.7.3.1.1.1, C.7.1.1, C.8.6.1, C.8.11.1.
    """
    modality, parts = str(header.get("Modality") or "").strip(), _body_parts(header)
    shown = f"is {modality}" if modality in _OTHER_MODALITIES else "is unknown" if modality else "is missing"
    sop_class = str(header.get("SOPClassUID") or "")
    captured, vague = sop_class in _CAPTURE_CLASSES, modality in _VAGUE
    if vague:
        modality = _CR_DX_CLASSES.get(sop_class, "OT" if captured and _names_chest(parts) else "")
    if modality not in (*MODALITIES, "OT"):
        if shown == "is missing" and not header.get("Rows"):
            raise UnsupportedImageError(
                "the DICOM modality is missing, and there is no image (a DICOMDIR index, a palette or another object); "
                "give the image files themselves"
            )
        hint = "; a Secondary Capture needs CHEST as its Body Part Examined" if captured and vague else ""
        raise UnsupportedImageError(f"the DICOM modality {shown}; covidcx reads plain radiographs (CR, DX, RG){hint}")
    conversion = str(header.get("ConversionType") or "")
    if captured and conversion in _NO_CAPTURE:
        raise UnsupportedImageError(f"the header names {_NO_CAPTURE[conversion]}; give the radiograph itself")
    if header.get("PresentationIntentType") == "FOR PROCESSING":
        raise UnsupportedImageError("raw detector data (FOR PROCESSING); send the FOR PRESENTATION image of the study")
    if header.get("AnatomicalOrientationType") == "QUADRUPED":
        raise UnsupportedImageError("the header names a quadruped; give a radiograph of a human chest")
    for letters in parts:
        _check_part(letters)
    return modality


def _body_parts(header: Dataset) -> list[str]:
    """Return what names the body part, in capitals: CR files use Body Part Examined, DX files Anatomic Region too."""
    texts = [header.get("BodyPartExamined")]
    texts += [item.get("CodeMeaning") for item in header.get("AnatomicRegionSequence") or []]
    return [re.sub("[^A-Z]", " ", str(text).upper()) for text in texts if text]


def _names_chest(parts: list[str]) -> bool:
    return any(word in letters for letters in parts for word in _CHEST)


def _check_part(letters: str) -> None:
    if "SPINE" not in letters and _names_chest([letters]):
        return
    words = letters.split()
    part = next((p for p in _NOT_CHEST if (p in letters if len(p) > 4 else _names(words, p))), None)
    if part is not None:
        raise UnsupportedImageError(
            f"Body Part Examined or Anatomic Region names {part}, not a chest; give a chest radiograph, or correct "
            "the header"
        )


def _names(words: list[str], part: str) -> bool:
    """Match a short part (ARM, LEG, HEAD) as a word, its plural, or after a side or joint prefix (LHAND, LOWLEG)."""
    prefix = "(L|R|LT|RT|LEFT|RIGHT|UP|UPR|UPPER|LOW|LWR|LOWER|FORE)?"
    return any(re.fullmatch(f"{prefix}{part}S?", word) for word in words)


def check_view(header: Dataset) -> str | None:
    """Return `PA`, `AP` or None.

    Args:
        header: ViewPosition and ViewCodeSequence.

    Returns:
        The projection, if the header names one.

    Raises:
        UnsupportedImageError: a lateral, oblique or decubitus view.

    Source: DICOM PS3.3 C.8.1.2 (CR), C.8.11.5 (DX); PS3.16 CID 4010.
    """
    views = [projection(header.get("ViewPosition"))]
    for item in header.get("ViewCodeSequence") or []:
        views.append(_VIEW_CODES.get(str(item.get("CodeValue") or "")) or projection(item.get("CodeMeaning")))
    what = {
        "LATERAL": "a lateral projection",
        "OBLIQUE": "an oblique or lateral projection",
        "DECUBITUS": "a lateral decubitus view",
    }
    for view in views:
        if view in what:
            raise UnsupportedImageError(f"the header names {what[view]}; give the frontal (PA or AP) image")
    return next((view for view in views if view), None)


def projection(text: str | None) -> str | None:
    """Read a view position as `PA`, `AP`, `LATERAL`, `OBLIQUE`, `DECUBITUS`, or None where it says none of them."""
    words = re.findall("[A-Z]+", str(text or "").upper())
    for name, known in (("DECUBITUS", _DECUBITUS), ("OBLIQUE", _OBLIQUE), ("LATERAL", _LATERAL)):
        if known.intersection(words):
            return name
    joined = "".join(words)
    if "PA" in words or joined.startswith("POSTEROANT"):
        return "PA"
    return "AP" if "AP" in words or joined.startswith("ANTEROPOST") else None
