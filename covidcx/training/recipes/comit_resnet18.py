"""ResNet-18 with fully connected layers, a comparison of COMiT-Net's fourth task (Table 4).

Command: `covidcx train comit-resnet18 --data MANIFEST --out runs/comit-resnet18`
Cost and result: not measured at this size yet; `covidcx reproduce comit-net table-4` measures both.

"Fine-tuned with the dataset and protocol used for the proposed COMiT-Net" (section 3.3): 224 pixels, batch 16, 30
epochs, the same rows, copies and balance, the two sigmoids of task 4 and nothing else. The paper starts from ImageNet;
`--set initial_weights=FILE` takes such a file where there is one.
"""

from covidcx.imaging.preprocessing import Preprocessing
from covidcx.training.recipe import LossSettings, ModelSettings, OptimizerSettings, Recipe

HEAD = {"hidden": [256, 64], "activation": "sigmoid", "output": "infection"}
"""The head that all four comparisons share: the layers of COMiT-Net's own branch."""

RECIPE = Recipe(
    name="comit-resnet18",
    model=ModelSettings("cnn-baseline", {"backbone": "resnet18", **HEAD}),
    preprocessing=Preprocessing(size=(224, 224), channels=("original", "original", "original")),
    task="multi",
    labels=("covid", "other"),
    heads=("infection",),
    copies=("covid",),
    view_balance=True,
    loss=LossSettings(),
    optimizer=OptimizerSettings(name="adam", learning_rate=5e-5),
    epochs=30,
    batch=16,
    class_weights=False,
)
