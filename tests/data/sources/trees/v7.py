"""V7: Darwin JSON of both versions, views, a CT slice, devices, and images under each of the names in use."""

import json
from pathlib import Path

from conformance import Tree, write_png

SIZE = (80, 100)
RELEASE, PART = "releases/all-images/annotations", "releases/covid-only"
LEFT = [(60, 10), (90, 10), (90, 70), (60, 70)]
RIGHT = [(10, 10), (40, 10), (40, 70), (10, 70)]


def path_of(points: list[tuple[float, float]]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


def lung(points: list[tuple[float, float]], name: str = "Lung") -> dict[str, object]:
    return {"name": name, "polygon": {"path": path_of(points)}, "bounding_box": {"x": 0, "y": 0, "w": 1, "h": 1}}


def tag(name: str) -> dict[str, object]:
    return {"name": name, "tag": {}}


def write_note(folder: Path, stem: str, original: str, *notes: dict[str, object], release: str = RELEASE) -> None:
    path = folder / release / f"{stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = {
        "width": SIZE[1], "height": SIZE[0], "filename": f"{stem}.png", "original_filename": original,
        "url": "https://darwin.v7labs.com/api/images/1/original",
    }  # fmt: skip
    content = {"dataset": "covid-19-chest-x-ray-dataset", "image": image, "annotations": list(notes)}
    path.write_text(json.dumps(content), "utf-8")


def write(folder: Path) -> None:
    write_note(
        folder, "1676192", "nejmoa2001191_f1-PA.jpeg", lung(LEFT), lung(RIGHT),
        lung([(35, 20), (65, 20), (65, 30), (35, 30)], "Ignore"), tag("COVID-19"), tag("Viral Pneumonia"),
        tag("View/PA"), tag("Age/35"), tag("Sex/M"), tag("X-ray"), tag("Survival/Y"),
    )  # fmt: skip
    write_note(folder, "1676193", "person1_virus_6.jpeg", lung(LEFT), tag("Viral Pneumonia"))
    write_note(folder, "1676194", "IM-0115-0001.jpeg", lung(RIGHT), tag("No Pneumonia (healthy)"))
    write_note(folder, "1676195", "lateral.png", tag("COVID-19"), tag("View/Lateral"))
    write_note(folder, "1676196", "slice.png", tag("COVID-19"), tag("CT"))
    write_note(folder, "1676197", "gone.png", lung(LEFT), tag("COVID-19"))
    write_note(folder, "1676192", "nejmoa2001191_f1-PA.jpeg", tag("COVID-19"), release=f"{PART}/annotations")
    hole = [path_of([(10, 10), (90, 10), (90, 70), (10, 70)]), path_of([(40, 10), (60, 10), (60, 70), (40, 70)])]
    second = {
        "version": "2.0", "item": {"name": "supine.jpg", "slots": [
            {"width": SIZE[1], "height": SIZE[0], "source_files": [{"file_name": "supine.jpg"}]}]},
        "annotations": [
            {"id": "a", "name": "Lung", "polygon": {"paths": hole}}, tag("Bacterial Pneumonia"), tag("View/AP_Supine"),
        ],
    }  # fmt: skip
    (folder / RELEASE / "supine.json").write_text(json.dumps(second), "utf-8")
    (folder / RELEASE / "notes.json").write_text("[]", "utf-8")
    images = folder / "images"
    for name in ("1676192.png", "1676193_person1_virus_6.jpeg", "IM-0115-0001.jpeg", "1676195.png", "supine.jpg"):
        write_png(images / name, len(name), SIZE)


def break_label(folder: Path) -> None:
    write_note(folder, "1676194", "IM-0115-0001.jpeg", lung(RIGHT), tag("No Pneumonja"))


TREE = Tree(write, rows=4, all_rows=5, image="images/IM-0115-0001.jpeg", break_label=break_label)
