"""Real pictures of anything but a chest that installed packages bring along, and those of a user's own folder.

Photographs and micrographs come from scikit-image, scikit-learn and Matplotlib, sections, ultrasound and the leg
`RG3_UNCR.dcm` from pydicom and `pydicom-data`. A package that is not installed is passed over. Each picture belongs
to one split for good, so that the gate is tested on pictures it never saw, and never on a crop of one that it did.
"""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

log = logging.getLogger(__name__)

LEG = "RG3_UNCR"
"""The leg radiograph of pydicom-data: for testing only."""
_SHORTEST = 48

# kind, package, folder inside it, and the names by split. One name stands for one picture, of which packages often
# hold several encodings; only the one named here is used.
_PICTURES = (
    ("photo", "skimage", "data", {
        "train": ("astronaut.png", "camera.png", "coffee.png", "brick.png", "grass.png", "coins.png", "ihc.png",
                  "cell.png", "moon.png", "text.png", "horse.png", "motorcycle_left.png", "color.png"),
        "val": ("chelsea.png", "gravel.png", "page.png"),
        "test": ("rocket.jpg", "retina.jpg", "hubble_deep_field.jpg", "clock_motion.png", "microaneurysms.png"),
    }),
    ("photo", "sklearn", "datasets/images", {"train": ("china.jpg",), "test": ("flower.jpg",)}),
    ("photo", "matplotlib", "mpl-data/sample_data", {"test": ("grace_hopper.jpg",)}),
    ("dicom", "pydicom", "data/test_files", {
        "train": ("693_J2KI.dcm", "CT_small.dcm", "JPEG2000.dcm", "examples_jpeg2k.dcm", "examples_palette.dcm",
                  "liver_1frame.dcm", "examples_overlay.dcm", "GDCMJ2K_TextGBR.dcm"),
        "val": ("J2K_pixelrep_mismatch.dcm", "examples_ybr_color.dcm", "MR_small.dcm"),
        "test": ("image_dfl.dcm",),
    }),
    ("dicom", "data_store", "data", {
        "train": ("mlut_18.dcm", "OBXXXX1A.dcm"),
        "test": (f"{LEG}.dcm", "MR2_UNCR.dcm", "bad_sequence.dcm", "explicit_VR-UN.dcm", "eCT_Supplemental.dcm",
                 "gdcm-US-ALOKA-16.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "color-pl.dcm", "emri_small.dcm"),
    }),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class OtherPicture:
    """A picture that is no chest radiograph.

    Attributes:
        source: kind and name of the file, such as `photo-astronaut`.
        split: `train`, `val` or `test`.
        pixels: float32, H x W, 0..1.
    """

    source: str
    split: str
    pixels: np.ndarray


def packaged_pictures() -> Iterator[OtherPicture]:
    """Read the pictures that installed packages bring along; those that are missing are passed over."""
    for kind, package, folder, splits in _PICTURES:
        root = _package_folder(package)
        for split, names in splits.items():
            for name in names if root is not None else ():
                pixels = read_any(root / folder / name)
                if pixels is not None:
                    yield OtherPicture(f"{kind}-{Path(name).stem}", split, pixels)


def folder_pictures(folder: Path) -> Iterator[OtherPicture]:
    """Read a user's own pictures that are no chest radiographs, each in a split that its name decides.

    Args:
        folder: pictures and DICOM files of any kind, searched through; what cannot be read is passed over.
    """
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        pixels = read_any(path)
        if pixels is None:
            log.warning("%s is left out: it is no picture that can be read", path.name)
            continue
        name = path.relative_to(folder).as_posix()
        draw = hashlib.sha256(name.encode()).digest()[0] / 256
        yield OtherPicture(f"own-{name}", "train" if draw < 0.7 else "val" if draw < 0.8 else "test", pixels)


def read_any(path: Path) -> np.ndarray | None:
    """Read a picture or DICOM file of any kind and modality, which `covidcx.imaging.read` rightly refuses.

    Args:
        path: the file; of several frames the middle one is taken.

    Returns:
        float32, H x W, 0..1 over the range of its values (MONOCHROME1 turned), or None where it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content:
        return None
    pixels = _dicom(path) if content[128:132] == b"DICM" else _picture(content)
    if pixels is None or min(pixels.shape) < _SHORTEST or not np.isfinite(pixels).all():
        return None
    low, high = float(pixels.min()), float(pixels.max())
    return ((pixels - low) / max(high - low, 1e-6)).astype(np.float32)


def _package_folder(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def _picture(content: bytes) -> np.ndarray | None:
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    return None if image is None else image.astype(np.float32)


def _dicom(path: Path) -> np.ndarray | None:
    import pydicom
    from pydicom.errors import InvalidDicomError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path)
            pixels = np.asarray(dataset.pixel_array, np.float32)
        except (InvalidDicomError, AttributeError, ValueError, RuntimeError, NotImplementedError, OSError) as error:
            log.debug("%s: %s", path.name, error)
            return None
    if pixels.ndim > 2 and pixels.shape[-1] == 3:
        pixels = pixels.mean(axis=-1)
    while pixels.ndim > 2:
        pixels = pixels[len(pixels) // 2]
    return -pixels if dataset.get("PhotometricInterpretation") == "MONOCHROME1" else pixels
