"""`read`: any accepted file becomes a `Radiograph`. What a file is, is told by its bytes, never by its suffix."""

import os
import stat
from pathlib import Path

from covidcx.errors import ImageError, UnreadableImageError, UnsupportedImageError
from covidcx.imaging.picture import is_picture, read_picture
from covidcx.imaging.radiograph import Radiograph

# Far above any radiograph (100 Mpx of 16 bits are 191 MiB); keeps a stray archive from being read into memory.
MAX_FILE_BYTES = 512 * 2**20

_HEAD = 132
_READ = "DICOM, PNG, JPEG, TIFF, WebP or BMP"
_FOREIGN = {
    b"II+\0": "a BigTIFF picture",
    b"MM\0+": "a BigTIFF picture",
    b"GIF8": "a GIF picture",
    b"\0\0\0\x0cjP  ": "a bare JPEG 2000 picture",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
}
_EXPLICIT_VRS = {b"UL", b"UI", b"CS", b"DA", b"TM", b"SH", b"LO", b"OB", b"DT", b"ST", b"PN", b"SQ", b"US", b"IS"}


def read(path: str | os.PathLike[str], window: int | None = 0) -> Radiograph:
    """Read a chest radiograph from a DICOM (with or without preamble), PNG, JPEG, TIFF, WebP or BMP file.

    Error messages name the file as the caller did and hold nothing that a DICOM header says about the patient.

    Args:
        path: the file.
        window: which of a DICOM file's value-of-interest views to show (VOI LUTs first, then windows); None stretches
            the whole range of values instead. Pictures have no windows and ignore it.

    Returns:
        The radiograph; pixels float32 H x W, 0 = black to 1 = white, whatever the file's photometric interpretation.

    Raises:
        UnreadableImageError: no such file, not an image, damaged, truncated, or no codec for it.
        UnsupportedImageError: a sound file that is no frontal greyscale chest radiograph of an accepted size.

    Source: DICOM PS3.3 C.7.6.3 (pixels), C.11 (look-up tables); PNG third edition; ITU-T T.81 (JPEG); TIFF 6.0;
        RFC 9649 (WebP).
    """
    path = Path(path)
    name = _display(path.name or str(path))
    try:
        head, size = _head(path)
        # First of all, for a preamble may hold the head of a TIFF: a file that is both says more as DICOM.
        if head[128:132] == b"DICM" or _is_bare_dicom(head, size):
            # Lazy: pydicom takes longer to import than a PNG to read.
            from covidcx.imaging.dicom import read_dicom

            return read_dicom(path, window)
        if is_picture(head):
            return read_picture(path)
        raise _foreign(head)
    except ImageError as error:
        raise type(error)(f"{name}: {error}") from error
    except MemoryError as error:
        raise UnreadableImageError(
            f"{name}: not enough memory to decode this file; close other programs or reduce the image"
        ) from error
    except Exception as error:
        # Decoders raise nearly every exception type on damaged bytes; a caller must need to know only ours.
        raise UnreadableImageError(
            f"{name}: the file is damaged and could not be decoded ({type(error).__name__}); export or copy it again"
        ) from error


def _head(path: Path) -> tuple[bytes, int]:
    """Return a regular file's first bytes and size; opening a pipe or a device could wait for ever."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableImageError("is a folder, not a file; name the image files in it one by one")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableImageError("is no regular file; copy the image to a file on disk")
        if status.st_size == 0:
            raise UnreadableImageError("the file is empty (0 bytes); export or copy it again")
        if status.st_size > MAX_FILE_BYTES:
            raise UnsupportedImageError(
                f"the file has {status.st_size:,} bytes, at most {MAX_FILE_BYTES:,} are read; "
                "give a single-frame radiograph"
            )
        with path.open("rb") as stream:
            return stream.read(_HEAD), status.st_size
    except FileNotFoundError as error:
        raise UnreadableImageError(f"no such file in {_display(str(path.parent), 200)}; check the path") from error
    except (OSError, ValueError) as error:
        reason = (error.strerror or type(error).__name__) if isinstance(error, OSError) else "the path is not valid"
        raise UnreadableImageError(f"cannot be opened ({reason}); check the path and its permissions") from error


def _is_bare_dicom(head: bytes, size: int) -> bool:
    """Recognise a data set without preamble by its first element: group 0002 or 0008, then a VR or a sane length."""
    if len(head) < 8 or head[:2] not in (b"\x08\0", b"\x02\0", b"\0\x08", b"\0\x02"):
        return False
    if head[4:6] in _EXPLICIT_VRS:
        return True
    return head[1] == 0 and head[3] == 0 and int.from_bytes(head[4:8], "little") < min(size, 1024)


def _foreign(head: bytes) -> ImageError:
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            return UnsupportedImageError(f"this is {what}; covidcx reads {_READ}: export it as one of them")
    what = "text" if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head) else "unknown content"
    return UnreadableImageError(
        f"not an image: it starts with {what}, not as {_READ} files do; export or copy it again"
    )


def _display(name: str, length: int = 120) -> str:
    """Make a name safe for a one-line message."""
    shown = "".join(character if character.isprintable() else "?" for character in name)
    return shown if len(shown) <= length else shown[: length - 3] + "..."
