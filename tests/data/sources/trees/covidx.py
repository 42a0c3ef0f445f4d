"""COVIDx: lists without a header, of several origins, one file name with spaces."""

from pathlib import Path

from conformance import Tree, write_png

TRAIN = (
    "3 SARS-10.1148-day0.jpeg pneumonia cohen", "2 a b (1).png COVID-19 cohen",
    "COVID-00003a COVID-00003a.jpg COVID-19 fig1", "ANON14 DX.1.2.3.png negative actmed", "9 gone.jpg normal cohen",
)  # fmt: skip
TEST = ("0103fadb-1663 0103fadb-1663.png normal rsna", "COVID_12 COVID(12).png positive")


def write(folder: Path) -> None:
    for seed, (split, line) in enumerate([("train", line) for line in TRAIN[:4]] + [("test", line) for line in TEST]):
        name = line.partition(" ")[2]
        for word in (" cohen", " fig1", " actmed", " rsna", " pneumonia", " COVID-19", " negative", " normal",
                     " positive"):  # fmt: skip
            name = name.removesuffix(word)
        write_png(folder / split / name, seed)
    (folder / "train_COVIDx9A.txt").write_text("\n".join(TRAIN) + "\n")
    (folder / "test_COVIDx9A.txt").write_text("\n".join(TEST) + "\n")


def break_label(folder: Path) -> None:
    table = folder / "test_COVIDx9A.txt"
    table.write_text(table.read_text().replace("normal rsna", "norml rsna"))


TREE = Tree(write, rows=6, all_rows=6, image="test/0103fadb-1663.png", break_label=break_label)
