"""Table 7: the related work that the paper compares itself with; literature values, nothing is trained."""

from covidcx.papers.comparison import Table
from covidcx.papers.item import Context, Item, Result

_ROWS = (
    ("Zhang et al. [21]", 100, "no", "yes, ImageNet", "ResNet", "0.72", "no"),
    ("Li et al. [22]", 179, "no", "yes, ImageNet", "several, best ShuffleNetV2", "-", "no"),
    ("Khan et al. [20]", 284, "yes", "yes, ImageNet", "Xception", "0.9560", "no"),
    ("Rajaraman et al. [23]", 313, "no", "yes, ImageNet", "ensemble, best InceptionV3", "0.9841", "yes, U-Net"),
    ("Wang and Wong [24]", 358, "no", "no", "COVID-Net", "0.9480", "no"),
    ("Mangal et al. [25]", 358, "yes", "yes, CheXNet", "DenseNet", "0.9230", "no"),
    ("COVID-CXNet (hierarchical)", 700, "no", "yes, CheXNet", "DenseNet", "0.9221", "yes, U-Net"),
)  # fmt: skip


def table_7(context: Context) -> Result:
    """Return the paper's Table 7 as printed."""
    header = ("model", "COVID-19 images", "pediatric bias", "pretrained", "architecture", "F-score COVID-19",
              "lung segmentation")  # fmt: skip
    note = (
        "Literature values, each on its own data set: they cannot be ranked. Our own F-scores are in table-6, with the "
        "share of CAP images from the COVID source that is called COVID-19 beside them."
    )
    return Result(tables=(Table("Related work, as published", header, _ROWS),), notes=(note,))


ITEMS = (Item("table-7", "Comparison with related work (literature values)", table_7, needs="nothing"),)
