"""A watched folder: every file answered exactly once, however often the process is killed."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_bundles import draw_chest, write_image

from covidcx.cli import main
from covidcx.edge import watch as watching
from covidcx.edge.runtime import load
from covidcx.edge.watch import MOST_ATTEMPTS, Watcher, watch
from covidcx.errors import CovidcxError

REPO = Path(__file__).resolve().parents[2]
KILLS, FILES = 20, 200


def answers(out: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((out / "findings").glob("*.json"))]


def unfinished(out: Path) -> list[Path]:
    return [path for path in out.rglob("*") if path.name.endswith((".part", ".tmp"))]


@pytest.fixture
def incoming(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def test_answers_move_what_was_taken_and_quarantine_what_is_bad(tiny, incoming, tmp_path):
    write_image(incoming / "a.png", draw_chest(0.9)[0])
    write_image(incoming / "ward" / "a.png", draw_chest(0.5)[0])
    write_image(incoming / "leg.png", np.full((100, 100), 0.7, np.float32))
    (incoming / "bad.dcm").write_text("not an image")
    out = tmp_path / "out"
    counts = watch(incoming, out, tiny, settle=0.0, interval=0.01, once=True)
    assert (counts.ok, counts.refused, counts.quarantined, counts.repeated) == (2, 1, 1, 0)
    by_source = {value["source"]: value for value in answers(out)}
    assert sorted(by_source) == ["a.png", "bad.dcm", "leg.png", "ward/a.png"]
    assert by_source["bad.dcm"]["status"] == "error" and by_source["bad.dcm"]["reason"]
    assert by_source["leg.png"]["status"] == "refused"
    assert [path.suffix for path in (out / "quarantine").iterdir()] == [".dcm"]
    assert len(list((out / "taken").iterdir())) == 3
    assert not [path for path in incoming.rglob("*") if path.is_file()] and not unfinished(out)


def test_a_growing_file_is_left_until_it_rests(tiny, incoming, tmp_path):
    now = [0.0]
    path = write_image(incoming / "a.png", draw_chest()[0])
    content = path.read_bytes()
    path.write_bytes(content[:100])
    watcher = Watcher(incoming, tmp_path, load(tiny), settle=2.0, clock=lambda: now[0])
    assert watcher.ready() == []
    now[0] = 1.9
    assert watcher.ready() == []
    path.write_bytes(content)
    now[0] = 3.0
    assert watcher.ready() == [], "it changed: its time starts again"
    now[0] = 4.9
    assert watcher.ready() == []
    now[0] = 5.0
    assert watcher.ready() == [path]


def test_hidden_empty_and_partial_files_are_not_taken(tiny, incoming, tmp_path):
    for name in (".x.png", "a.png.part", "b.tmp", "c.PART"):
        (incoming / name).write_bytes(b"x")
    (incoming / "empty.png").touch()
    watcher = Watcher(incoming, tmp_path, load(tiny), settle=0.0)
    assert watcher.ready() == []


def test_same_content_under_the_same_name_is_answered_once(tiny, incoming, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        write_image(incoming / "a.png", draw_chest(0.9)[0])
        counts = watch(incoming, out, tiny, settle=0.0, interval=0.01, once=True)
    assert counts.repeated == 1 and counts.ok == 0 and len(answers(out)) == 1
    write_image(incoming / "a.png", draw_chest(0.5)[0])
    assert watch(incoming, out, tiny, settle=0.0, interval=0.01, once=True).ok == 1
    assert len(answers(out)) == 2, "other content under the same name is another file"


def test_a_file_that_kills_the_process_is_given_up(tiny, incoming, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def dies(*_):
        raise KeyboardInterrupt

    write_image(incoming / "a.png", draw_chest()[0])
    with monkeypatch.context() as patch:
        patch.setattr(watching, "answer", dies)
        for _ in range(MOST_ATTEMPTS):
            with pytest.raises(KeyboardInterrupt):
                watch(incoming, out, tiny, settle=0.0, interval=0.01, once=True)
    counts = watch(incoming, out, tiny, settle=0.0, interval=0.01, once=True)
    assert counts.quarantined == 1
    assert f"died {MOST_ATTEMPTS} times" in answers(out)[0]["reason"]


def test_killed_twenty_times_every_file_is_answered_exactly_once(tiny, incoming, tmp_path):
    out = tmp_path / "out"
    command = [
        sys.executable, "-m", "covidcx", "edge", "watch", str(incoming), str(out), "--bundle", str(tiny),
        "--settle", "0.2", "--interval", "0.02", "--threads", "1",
    ]  # fmt: skip

    def write() -> None:
        for index in range(FILES):
            aside = write_image(tmp_path / "unit" / f"{index:03d}.png", draw_chest(0.3 + 0.003 * index)[0])
            if index % 10 == 0:
                aside.write_bytes(aside.read_bytes()[:500])
            # A unit that writes in place: half a file is visible for a moment.
            content = aside.read_bytes()
            with (incoming / aside.name).open("wb") as stream:
                stream.write(content[: len(content) // 2])
                stream.flush()
                time.sleep(0.002)
                stream.write(content[len(content) // 2 :])

    writer = threading.Thread(target=write)
    writer.start()
    rng, kills, progressed = random.Random(0), 0, []
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    while kills < KILLS:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        before = len(list((out / "findings").glob("*.json")))
        limit = time.monotonic() + 60
        # At work before the kill: otherwise twenty kills would only show that starting can be interrupted.
        while len(list((out / "findings").glob("*.json"))) <= before and time.monotonic() < limit:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        progressed.append(len(list((out / "findings").glob("*.json"))))
        if progressed[-1] == FILES:
            break
    writer.join()
    assert progressed[-1] > progressed[0]
    done = subprocess.run([*command, "--once"], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = answers(out)
    assert sorted(value["source"] for value in found) == [f"{index:03d}.png" for index in range(FILES)]
    assert sum(value["status"] == "error" for value in found) == FILES // 10
    assert len(list((out / "taken").iterdir())) == FILES - FILES // 10
    assert len(list((out / "quarantine").iterdir())) == FILES // 10
    pictures = {path.stem for path in (out / "pictures").glob("*.png")}
    assert len(pictures) == sum(value["status"] == "ok" for value in found)
    assert not list(incoming.iterdir()) and not unfinished(out)
    # The killed runs were at work, so that the kills fell into writing and not into starting alone.
    assert kills == KILLS or progressed[-1] == FILES


def test_sigterm_finishes_the_file_at_hand_and_says_so_in_the_heartbeat(tiny, incoming, tmp_path):
    out = tmp_path / "out"
    write_image(incoming / "a.png", draw_chest(0.9)[0])
    process = subprocess.Popen(
        [sys.executable, "-m", "covidcx", "edge", "watch", str(incoming), str(out), "--bundle", str(tiny),
         "--settle", "0", "--interval", "0.05"],
        env={**os.environ, "PYTHONPATH": str(REPO)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    limit = time.monotonic() + 60
    while not list((out / "findings").glob("*.json")) and time.monotonic() < limit:
        time.sleep(0.02)
    beat = json.loads((out / "heartbeat.json").read_text())
    assert beat["pid"] == process.pid and beat["state"] in ("working", "idle")
    process.terminate()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0 and "1 ok" in said
    beat = json.loads((out / "heartbeat.json").read_text())
    assert beat["state"] == "stopped" and beat["ok"] == 1 and "a.png" not in json.dumps(beat)


def test_memory_stays_bounded_over_a_thousand_files(tiny, incoming, tmp_path):
    code = (
        "import resource, sys\n"
        "from covidcx.edge import watch as w\n"
        "peaks = []\n"
        "real = w.Watcher.take\n"
        "def take(self, path):\n"
        "    real(self, path)\n"
        "    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "w.Watcher.take = take\n"
        f"w.watch({str(incoming)!r}, {str(tmp_path / 'out')!r}, {str(tiny)!r}, settle=0.0, interval=0.01, once=True)\n"
        "print(len(peaks), peaks[100], peaks[-1])"
    )
    for index in range(1000):
        write_image(incoming / f"{index:04d}.png", draw_chest(0.3 + 0.0006 * index, size=(100, 80))[0])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(REPO)}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    count, early, late = (int(word) for word in done.stdout.split())
    assert count == 1000
    assert late - early < 20 * 1024, f"peak memory grew from {early} to {late} KiB"


@pytest.mark.parametrize("inside", ["", "answers"])
def test_answers_inside_the_watched_folder_are_refused(tiny, incoming, inside):
    with pytest.raises(CovidcxError, match="lies inside"):
        watch(incoming, incoming / inside, tiny, once=True)


def test_a_missing_folder_is_one_line_and_exit_code_2(tiny, tmp_path, capsys):
    assert main(["edge", "watch", str(tmp_path / "no"), str(tmp_path / "out"), "--bundle", str(tiny)]) == 2
    error = capsys.readouterr().err
    assert "is no folder" in error and error.count("\n") == 1
