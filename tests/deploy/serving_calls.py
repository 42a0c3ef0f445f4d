"""How the tests of both kinds of SavedModel ask one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from covidcx.imaging.radiograph import Radiograph


def ask(model, pictures: list[bytes], signature: str = "serving_default") -> dict[str, np.ndarray]:
    import tensorflow as tf

    return {key: value.numpy() for key, value in model.signatures[signature](tf.constant(pictures)).items()}


def radiograph(image: np.ndarray) -> Radiograph:
    return Radiograph(image.astype(np.float32) / np.float32(255.0))


def probabilities_alone(folder: Path, picture: Path, more: str = "") -> np.ndarray:
    """Ask a SavedModel in a process that has TensorFlow alone; `more` is run there with `model` and `data`."""
    code = (
        "import sys\n"
        "import tensorflow as tf\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('covidcx', 'keras', 'cv2', 'pydicom'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Wall())\n"
        f"model = tf.saved_model.load({str(folder)!r})\n"
        f"data = tf.io.read_file({str(picture)!r})[None]\n"
        f"{more}\n"
        "print(model.signatures['serving_default'](data)['probabilities'].numpy().tolist())\n"
        "assert 'covidcx' not in sys.modules\n"
    )
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=picture.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.array(json.loads(done.stdout.splitlines()[-1]))
