"""The two-stage model predicts, explains and exports as every other bundle does: one bundle, four runtimes."""

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="exporting needs the train extra")

import keras  # noqa: E402
from keras import layers  # noqa: E402

from covidcx.bundle import calibrate  # noqa: E402
from covidcx.data.phantom import phantom  # noqa: E402
from covidcx.deploy.saved_model import export_saved_model  # noqa: E402
from covidcx.deploy.write import write_bundle  # noqa: E402
from covidcx.edge.runtime import load  # noqa: E402
from covidcx.explain.explain import open_explainer  # noqa: E402
from covidcx.imaging.preprocessing import Preprocessing, prepare  # noqa: E402
from covidcx.imaging.radiograph import Radiograph  # noqa: E402
from covidcx.models import build, covid_cxnet  # noqa: E402

LABELS = ("normal", "cap", "covid")
SPEC = Preprocessing(size=(64, 64), channels=("original", "clahe", "beasf"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A joined model whose backbones are one convolution each, so that four runtimes take seconds."""

    def features(backbone, x, output_stride):
        return layers.ReLU(name="out_relu")(layers.Conv2D(8, 9, strides=8, padding="same", name="Conv1")(x))

    patch = pytest.MonkeyPatch()
    patch.setattr(covid_cxnet, "_features", features)
    keras.utils.set_random_seed(4)
    spec = {"name": "covid-cxnet-hierarchical", "kwargs": {"input_shape": [64, 64, 3], "activation": "elu"}}
    model = build(spec["name"], **spec["kwargs"])
    for seed, stage in enumerate(("pneumonia", "covid")):
        head = model.get_layer(f"{stage}_probabilities")
        head.kernel.assign(6 * np.random.default_rng(seed).normal(size=(10, 1)).astype(np.float32))
    folder = tmp_path_factory.mktemp("bundles") / "hierarchical"
    yield write_bundle(
        folder, model, architecture=spec, name="hierarchical", task="classify", labels=LABELS, preprocessing=SPEC,
        licence="CC0-1.0", temperature=1.3,
    )  # fmt: skip
    patch.undo()


def test_edge_keras_and_saved_model_give_one_answer_and_one_heat_map(bundle, tmp_path):
    radiograph = Radiograph(phantom("covid", seed=2, size=200).pixels)
    analysis = load(bundle).analyse(radiograph)
    explainer = open_explainer(bundle.folder)
    assert explainer.layer == "stage_features"
    prepared = prepare(radiograph.pixels, SPEC)
    probabilities = explainer.probabilities(prepared.network_input)[0]
    assert probabilities.sum() == pytest.approx(1) and probabilities.max() < 0.99
    np.testing.assert_allclose(list(analysis.finding.probabilities.values()), probabilities, atol=1e-4)
    keras_heat = explainer.heat(prepared, analysis.finding.label)
    assert keras_heat.max() > 0
    scale = analysis.heat.sum() / keras_heat.sum()  # Grad-CAM up to the number of positions
    np.testing.assert_allclose(keras_heat * scale, analysis.heat, atol=0.02 * analysis.heat.max())
    # The export compares itself with the edge runtime on synthetic radiographs and refuses to differ.
    served = export_saved_model(bundle, tmp_path)
    assert served.worst < 1e-3
    answer = tf.saved_model.load(str(served.folder)).signatures["predict_tensor"](
        tf.constant(radiograph.pixels[None], tf.float32)
    )
    np.testing.assert_allclose(np.asarray(answer["probabilities"])[0], probabilities, atol=1e-3)
    raw = np.asarray(explainer.model(prepared.network_input, training=False)["probabilities"])
    np.testing.assert_allclose(calibrate(raw, 1.3)[0], probabilities, atol=1e-6)
