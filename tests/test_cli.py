"""The command line: every mistake is one line that says what, where and what to do, with exit code 2."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundles import convert_networks, draw_chest, save_pair, write_image

from covidcx.cli import main


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return save_pair(tmp_path_factory.mktemp("bundles"), convert_networks())


def _one_error_line(capsys, *words: str) -> str:
    text = capsys.readouterr().err
    assert text.startswith("covidcx: error: ") and text.count("\n") == 1, text
    for word in words:
        assert word in text, text
    return text


def _dicom(path: Path, pixels: np.ndarray, rows: int | None = None, columns: int | None = None) -> Path:
    """Write a small DX file, with a header that may promise another size."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.BodyPartExamined, ds.ViewPosition = "DX", "CHEST", "PA"
    ds.PatientName, ds.PatientID = "Doe^Jane", "SECRET-123"
    ds.PhotometricInterpretation, ds.SamplesPerPixel = "MONOCHROME2", 1
    ds.Rows, ds.Columns = rows or pixels.shape[0], columns or pixels.shape[1]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = np.round(pixels * 4095).astype(np.uint16).tobytes()
    ds.save_as(path, enforce_file_format=True)
    return path


def test_predict_prints_findings_and_where_they_are(tiny, tmp_path, capsys):
    _dicom(tmp_path / "chest.dcm", draw_chest(0.9)[0])
    assert main(["predict", str(tmp_path / "chest.dcm"), "--bundle", str(tiny), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "chest.dcm" in text and "covid" in text and "index.html" in text and "not for diagnostic use" in text


def test_identity_of_the_patient_is_written_nowhere(tiny, tmp_path, capsys):
    _dicom(tmp_path / "chest.dcm", draw_chest(0.9)[0])
    main(["predict", str(tmp_path / "chest.dcm"), "--bundle", str(tiny), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    everything = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    everything.append((printed.out + printed.err).encode())
    assert len(everything) > 4
    assert not any(word in content for content in everything for word in (b"Doe", b"Jane", b"SECRET"))


def _truncated(folder: Path) -> Path:
    path = _dicom(folder / "truncated.dcm", draw_chest()[0])
    path.write_bytes(path.read_bytes()[:5000])
    return path


def _text(folder: Path) -> Path:
    (folder / "text.dcm").write_text("This is no image.\n" * 30)
    return folder / "text.dcm"


def _one_pixel(folder: Path) -> Path:
    return write_image(folder / "one.png", np.full((1, 1), 0.5))


def _huge_header(folder: Path) -> Path:
    return _dicom(folder / "huge.dcm", draw_chest()[0], 60000, 60000)


def _nan(folder: Path) -> Path:
    from pydicom import dcmread

    path = _dicom(folder / "nan.dcm", draw_chest()[0])
    ds = dcmread(path)
    del ds.PixelData
    ds.FloatPixelData = np.full((ds.Rows, ds.Columns), np.nan, np.float32).tobytes()
    ds.BitsAllocated = 32
    for name in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, name)
    ds.save_as(path)
    return path


@pytest.mark.parametrize("make", [_truncated, _text, _one_pixel, _huge_header, _nan])
def test_bad_image_is_one_line_and_exit_code_two(make, tiny, tmp_path, capsys):
    path = make(tmp_path)
    out = tmp_path / "out"
    assert main(["predict", str(path), "--bundle", str(tiny), "--out", str(out)]) == 2
    _one_error_line(capsys, path.name)
    # Nothing is lost: the reason stands in the record as well.
    record = json.loads((out / "findings" / f"{path.name}.json").read_text())
    assert record["status"] in ("error", "refused") and path.name in record["reason"]


def test_bad_image_among_good_ones_is_told_and_the_batch_succeeds(tiny, tmp_path, capsys):
    folder = tmp_path / "in"
    write_image(folder / "good.png", draw_chest()[0])
    _truncated(folder)
    assert main(["predict", str(folder), "--bundle", str(tiny), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "2 files: 1 ok, 1 error" in printed.out and "truncated.dcm" in printed.out and printed.err == ""


def test_empty_folder_is_one_line(tiny, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(tmp_path / "empty"), "--bundle", str(tiny)]) == 2
    _one_error_line(capsys, "empty", "no files", "DICOM")


def test_missing_input_is_one_line(tiny, tmp_path, capsys):
    assert main(["predict", str(tmp_path / "absent"), "--bundle", str(tiny)]) == 2
    _one_error_line(capsys, "absent", "check the path")


def test_bundle_with_a_changed_byte_is_one_line(tmp_path, capsys):
    bundle = save_pair(tmp_path, convert_networks())
    content = bytearray((bundle / "model.tflite").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "model.tflite").write_bytes(content)
    image = write_image(tmp_path / "chest.png", draw_chest()[0])
    assert main(["predict", str(image), "--bundle", str(bundle), "--out", str(tmp_path / "out")]) == 2
    _one_error_line(capsys, "model.tflite", "altered", "checksum", "fetch the bundle again")
    assert not (tmp_path / "out").exists()


def test_changed_segmenter_is_one_line_too(tmp_path, capsys):
    bundle = save_pair(tmp_path, convert_networks())
    (tmp_path / "tiny-lungs" / "model.tflite").write_bytes(b"x")
    image = write_image(tmp_path / "chest.png", draw_chest()[0])
    assert main(["predict", str(image), "--bundle", str(bundle), "--out", str(tmp_path / "out")]) == 2
    _one_error_line(capsys, "tiny-lungs", "altered")


def test_unknown_bundle_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "chest.png", draw_chest()[0])
    assert main(["predict", "chest.png", "--bundle", "nonsense-net"]) == 2
    _one_error_line(capsys, "unknown bundle 'nonsense-net'")


@pytest.mark.parametrize(
    "command",
    [["data", "validate", "{}"], ["data", "split", "{}", "--out", "{}.split.csv"],
     ["train", "lung-unet", "--data", "{}", "--out", "{}-run"]],
    ids=["validate", "split", "train"],
)  # fmt: skip
def test_manifest_with_a_missing_column_is_one_line(command, tmp_path, capsys):
    path = tmp_path / "manifest.csv"
    path.write_text("image,patient,label,split\na.png,1,normal,train\n")
    assert main([part.format(path) for part in command]) == 2
    _one_error_line(capsys, "manifest.csv", "patient_id")


def _manifest(tmp_path: Path, rows: list[str]) -> Path:
    path = tmp_path / "manifest.csv"
    path.write_text("image,patient_id,label,split\n" + "\n".join(rows) + "\n")
    return path


def test_validate_lists_every_problem_by_line(tmp_path, capsys):
    write_image(tmp_path / "a.png", np.zeros((4, 4)))
    path = _manifest(tmp_path, ["a.png,1,normal,train", "absent.png,2,cap,train", "a.png,1,flu,test"])
    assert main(["data", "validate", str(path)]) == 2
    printed = capsys.readouterr()
    assert "line 3" in printed.out and "line 4" in printed.out and "flu" in printed.out
    assert printed.err.count("\n") == 1 and "problems" in printed.err


def test_validate_shows_counts_and_hash_of_a_sound_table(tmp_path, capsys):
    for name in "ab":
        write_image(tmp_path / f"{name}.png", np.zeros((4, 4)))
    path = _manifest(tmp_path, ["a.png,1,normal,train", "b.png,2,cap,test"])
    assert main(["data", "validate", str(path)]) == 0
    text = capsys.readouterr().out
    assert "2 rows, no problems, split hash" in text and "train  normal  1" in text


def test_split_writes_patients_whole_and_refuses_bad_fractions(tmp_path, capsys):
    rows = []
    for number in range(30):
        write_image(tmp_path / f"{number}.png", np.zeros((4, 4)))
        rows.append(f"{number}.png,{number // 2},{('normal', 'cap', 'covid')[number % 3]},train")
    path = _manifest(tmp_path, rows)
    out = tmp_path / "split.csv"
    command = ["data", "split", str(path), "--out", str(out), "--fractions"]
    assert main([*command, "train=0.6,val=0.2,test=0.2"]) == 0
    with out.open(newline="") as stream:
        table = list(csv.DictReader(stream))
    homes: dict[str, set[str]] = {}
    for row in table:
        homes.setdefault(row["patient_id"], set()).add(row["split"])
    assert len(table) == 30 and all(len(splits) == 1 for splits in homes.values())
    assert {row["split"] for row in table} == {"train", "val", "test"}
    capsys.readouterr()
    for bad in ("train", "train=x,val=0.2"):
        assert main([*command, bad]) == 2
        _one_error_line(capsys, "--fractions", "train=0.7")
    outside = ["data", "split", str(path), "--out", str(tmp_path.parent / "elsewhere.csv")]
    assert main(outside) == 2
    _one_error_line(capsys, "relative paths")


def test_bad_setting_and_unknown_recipe_are_one_line(tmp_path, capsys):
    write_image(tmp_path / "a.png", np.zeros((4, 4)))
    path = _manifest(tmp_path, ["a.png,1,normal,train"])
    train = ["--data", str(path), "--out", str(tmp_path / "run")]
    assert main(["train", "lung-unet", *train, "--set", "epochs"]) == 2
    _one_error_line(capsys, "--set", "epochs=3")
    assert main(["train", "lung-net", *train]) == 2
    _one_error_line(capsys, "lung-net", "Did you mean 'lung-unet'?")
    assert main(["pretrain", "moco-v3", *train]) == 2
    _one_error_line(capsys, "moco-v3", "Did you mean 'moco-v2'?")


def test_missing_package_names_the_command_that_installs_it(tmp_path, capsys, repo):
    path = _manifest(tmp_path, ["a.png,1,normal,train"])
    code = (
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'pandas', 'sklearn', 'h5py'): sys.modules[name] = None\n"
        "from covidcx.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    for command in (
        ["train", "lung-unet", "--data", str(path), "--out", str(tmp_path / "run")],
        ["evaluate", "covid-cxnet", str(path), "--out", str(tmp_path / "evaluation")],
        ["data", "validate", str(path)],
    ):
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=repo)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("covidcx: error: ") and done.stderr.count("\n") == 1, done.stderr
        assert "pip install 'covidcx[train]'" in done.stderr


def test_full_disk_is_one_line_and_keeps_what_was_finished(tiny, tmp_path, capsys, monkeypatch):
    from covidcx.edge import work

    for name in ("1.png", "2.png"):
        write_image(tmp_path / "in" / name, draw_chest()[0])
    real, written = work.write_atomic, []

    def write_atomic(path, content):
        if path.name == "2.png.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written.append(path.name)
        real(path, content)

    monkeypatch.setattr(work, "write_atomic", write_atomic)
    out = tmp_path / "out"
    assert main(["predict", str(tmp_path / "in"), "--bundle", str(tiny), "--out", str(out)]) == 2
    _one_error_line(capsys, "No space left", "2.png.json", "free space")
    assert (out / "findings" / "1.png.json").is_file()


def test_interrupt_gives_130_and_says_how_to_go_on(tiny, tmp_path, capsys, monkeypatch):
    from covidcx.edge.runtime import Predictor

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Predictor, "analyse", interrupted)
    image = write_image(tmp_path / "chest.png", draw_chest()[0])
    assert main(["predict", str(image), "--bundle", str(tiny), "--out", str(tmp_path / "out")]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_verbose_shows_where_an_error_came_from(tmp_path, repo):
    command = [sys.executable, "-m", "covidcx", "predict", str(tmp_path / "absent"), "-v"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repo)
    assert done.returncode == 2 and "Traceback" in done.stderr and "covidcx: error: no such file" in done.stderr


def test_wrong_use_exits_with_two_and_shows_the_usage(capsys):
    for arguments in ([], ["nonsense"], ["predict"], ["predict", "x", "--threads", "0"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2 and "usage: covidcx" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    ["", "demo", "doctor", "data", "data sources", "data prepare", "data merge", "data tables", "data validate",
     "data split", "data phantom", "data audit", "data clean", "data views",
     "export", "serve", "ask", "edge", "edge watch", "train", "pretrain", "evaluate", "explain", "predict"],
)
def test_every_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and f"example:\n  covidcx {command}" in text


def test_reader_of_a_pipe_may_leave(repo):
    code = (
        "import sys\nfrom covidcx import cli\nfrom covidcx.commands import screen\n"
        "screen._predict = lambda _: [print('x' * 100) for _ in range(10000)] and 0\n"
        "sys.exit(cli.main(['predict', 'x']))"
    )
    done = subprocess.run(
        f"{sys.executable} -c \"$CODE\" | head -n 1", shell=True, capture_output=True, text=True, cwd=repo,
        env={**os.environ, "CODE": code},
    )  # fmt: skip
    assert done.stdout.startswith("xxx") and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_programming_errors_are_not_hidden(monkeypatch):
    from covidcx.commands import screen

    def broken(_):
        raise ImportError("no module", name="covidcx.nonsense")

    monkeypatch.setattr(screen, "_predict", broken)
    with pytest.raises(ImportError):
        main(["predict", "x"])
