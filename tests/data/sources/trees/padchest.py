"""PadChest: pictures by number of archive, a lateral and an excluded one."""

from pathlib import Path

from conformance import Tree, set_cell, write_csv, write_png

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
HEADER = [
    "", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
    "ViewPosition_DICOM", "Projection", "MethodProjection", "Pediatric", "MethodLabel", "Labels",
]  # fmt: skip


def row(image: str, place: object, patient: str, projection: str, labels: str) -> list[object]:
    return [0, f"{image}.png", place, 20140915, image, patient, "1930.0", "F", "", projection, "Manual", "No",
            "Physician", labels]  # fmt: skip


def write(folder: Path) -> None:
    write_csv(
        folder / TABLE, HEADER,
        row("20536686640136348236148679891455886468_k6ga29", 0, "839860488694292331637988235681460987", "PA",
            "['normal']"),
        row("135803415504923515076821959678074435083_fzis7b", "14.0", "313572750430997347502932654319389875966", "AP",
            "['infiltrates', ' pneumonia']"),
        row("48951848941_lateral", 14, "313572750430997347502932654319389875966", "L", "['pneumonia']"),
        row("48951848942_costal", 14, "4", "COSTAL", "['rib fracture']"),
        row("48951848943_excluded", 14, "5", "EXCLUDE", "['exclude']"),
        row("48951848944_gone", 14, "6", "PA", "['normal']"),
    )  # fmt: skip
    write_png(folder / "0" / "20536686640136348236148679891455886468_k6ga29.png")
    for name in ("135803415504923515076821959678074435083_fzis7b", "48951848941_lateral", "48951848942_costal",
                 "48951848943_excluded"):  # fmt: skip
        write_png(folder / "14" / f"{name}.png")


TREE = Tree(
    write, rows=2, all_rows=4, image="14/135803415504923515076821959678074435083_fzis7b.png", table=TABLE,
    required=("ImageID", "ImageDir", "StudyDate_DICOM", "PatientID", "PatientBirth", "PatientSex_DICOM", "Projection",
              "MethodLabel", "Labels"),
    break_label=lambda folder: set_cell(folder / TABLE, 1, "Labels", "pneumonia]"),
)  # fmt: skip
