"""Figures 10, 12, 15, 16, 18 to 22: where the models look, on images that nobody picked, with what is measured."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from covidcx.data.splits import split_hash
from covidcx.errors import MissingDataError, WeightsError
from covidcx.evaluation.plots import save_figure
from covidcx.evaluation.sheets import Panel, heat_panel, sheet_figure, signed_overlay
from covidcx.explain import heat_inside, lime_map
from covidcx.imaging.overlay import LUNG_COLOUR, outline
from covidcx.papers.chosen import chosen
from covidcx.papers.comparison import Comparison, attempt, skipped
from covidcx.papers.covid_cxnet.chexnet import chexnet_heat, chexnet_of
from covidcx.papers.covid_cxnet.confusion import NAMES
from covidcx.papers.covid_cxnet.curves import plain_value
from covidcx.papers.covid_cxnet.images import Study, studies
from covidcx.papers.covid_cxnet.measures import TITLES, Looking, measured, probability_of
from covidcx.papers.covid_cxnet.models import BASE_V1, BASE_V2, CXNET_V1, CXNET_V2, FLAT, Model, run_of, start_of
from covidcx.papers.item import Context, Item, Result
from covidcx.papers.trained import Trained

_SHOWN = ("heat_inside", "lungs_share", "pointing_mask", "pointing_box")
_SUPERPIXELS, _SAMPLES = 60, 304
_DRAWN = "The images are drawn by the seed from the test split, not picked; the lungs are outlined."


def gallery(
    context: Context, model: Model, labels: Sequence[str] = ("covid",), each: int = 6, columns: int = 3, skip: int = 0
) -> Result:
    """Draw Grad-CAM of a model's called class on test images and measure where its heat lies on all of them.

    Args:
        context: of the item.
        model: whose heat maps.
        labels: true labels shown, one group after the other.
        each: images per label.
        columns: images per row.
        skip: images of each label that another figure shows already.
    """
    figures, notes = [], []

    def rows() -> list[Comparison]:
        run = run_of(context, model)
        looking, panels = Looking(context, run), []
        for label in labels:
            frame = context.rows(context.out.name, split=("test",), labels=(label,))
            drawn = chosen(frame, skip + each, context.seed)
            panels += [cam_panel(looking, study) for study in studies(context, drawn.tail(max(1, len(drawn) - skip)))]
        title = f"{model.name}: Grad-CAM of the called class ({start_of(run)} start)"
        figures.append(
            save_figure(sheet_figure(panels, columns, title, "heat"), context.out / f"{context.out.name}.png")
        )
        notes.append(_DRAWN)
        return _looked(context, model, run)

    comparisons = attempt(model.name, {TITLES["heat_inside"]: None}, rows)
    return Result(tuple(comparisons), figures=tuple(figures), notes=tuple(notes),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


def cam_panel(looking: Looking, study: Study, label: str | None = None) -> Panel:
    """Return a radiograph with Grad-CAM of the called class, or of another.

    Args:
        looking: the model.
        study: the radiograph.
        label: class to explain; the called one by default.
    """
    prepared = looking.prepare(study)[0]
    probabilities = looking.probabilities([prepared])[0]
    index = int(probabilities.argmax()) if label is None else looking.recipe.labels.index(label)
    heat = looking.grids([prepared], [index])[0]
    inside = heat_inside(np.where(study.ignored, 0.0, heat), study.lungs)
    share = "no heat" if np.isnan(inside) else f"{inside:.0%} of heat in lungs"
    told = f"true {NAMES[study.row['label']]}; {NAMES[looking.recipe.labels[index]]} {probabilities[index]:.2f}"
    return heat_panel(study.pixels, heat, f"{told}\n{share}", study.lungs)


def lime_panel(looking: Looking, study: Study, label: str, seed: int) -> Panel:
    """Return a radiograph with LIME's superpixels for a class: green for it, red against it."""
    prepared = looking.prepare(study)[0]
    index = looking.recipe.labels.index(label)
    weights = lime_map(
        lambda images: probability_of(looking.run.model, images), prepared.network_input[0], index, _SUPERPIXELS,
        _SAMPLES, seed,
    )  # fmt: skip
    drawn = signed_overlay(study.pixels, prepared.geometry.restore(weights))
    return Panel(outline(drawn, study.lungs, LUNG_COLOUR), f"LIME for {NAMES[label]}")


def figure_12(context: Context) -> Result:
    """Explain base model v2 by Grad-CAM and by LIME on the same images."""
    figures = []

    def rows() -> list[Comparison]:
        run = run_of(context, BASE_V2)
        looking = Looking(context, run)
        frame = context.rows("figure-12", split=("test",), labels=("covid",))
        shown = list(studies(context, chosen(frame, 3, context.seed)))
        cams = [cam_panel(looking, study, "covid") for study in shown]
        limes = [lime_panel(looking, study, "covid", context.seed) for study in shown]
        for name, panels, title, scale in (
            ("figure-12a", cams, "(a) Base Model v2: Grad-CAM of COVID-19", "heat"),
            ("figure-12b", limes, "(b) Base Model v2: LIME", "signed"),
        ):
            figures.append(save_figure(sheet_figure(panels, 3, title, scale), context.out / f"{name}.png"))
        return _looked(context, BASE_V2, run)

    comparisons = attempt(BASE_V2.name, {TITLES["heat_inside"]: None}, rows)
    return Result(tuple(comparisons), figures=tuple(figures), notes=(_DRAWN,),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


def figure_16(context: Context) -> Result:
    """Set CheXNet's heat beside COVID-CXNet's on one image with a known opacity."""
    figures, notes = [], []

    def rows() -> list[Comparison]:
        run = run_of(context, CXNET_V1)
        frame = context.rows("figure-16", split=("test",), labels=("covid",))
        marked = frame[frame["disease_mask"].notna()]
        study = next(studies(context, chosen(marked if len(marked) else frame, 1, context.seed)))
        plain = Panel(outline(np.repeat((study.pixels * 255).astype(np.uint8)[..., None], 3, axis=2), study.lungs),
                      "(a) radiograph" + (", opacities outlined" if study.lesion is not None else ""))  # fmt: skip
        if study.lesion is not None:
            plain = Panel(outline(plain.image, study.lesion, (255, 170, 0)), plain.title)
        panels, found = [plain], []
        try:
            heat = chexnet_heat(chexnet_of(context), study)
            panels.append(heat_panel(study.pixels, heat, "(b) CheXNet, pneumonia", study.lungs))
            found.append(_inside(context, "CheXNet on this image", heat, study))
        except (MissingDataError, WeightsError) as error:
            found.append(skipped("CheXNet on this image", "heat inside the lungs", None, str(error)))
        looking = Looking(context, run)
        prepared = looking.prepare(study)[0]
        heat = looking.grids([prepared], [run.recipe.labels.index("covid")])[0]
        panels.append(heat_panel(study.pixels, heat, f"(c) {CXNET_V1.name}, COVID-19", study.lungs))
        found.append(_inside(context, f"{CXNET_V1.name} on this image", heat, study))
        figure = sheet_figure(panels, 3, "CheXNet and COVID-CXNet on one image", "heat")
        figures.append(save_figure(figure, context.out / "figure-16.png"))
        notes.append(f"{CXNET_V1.name}: {start_of(run)} start")
        return found

    comparisons = attempt(CXNET_V1.name, {"heat inside the lungs": None}, rows)
    return Result(tuple(comparisons), figures=tuple(figures), notes=tuple(notes),
                  split_hash=split_hash(context.manifest.frame))  # fmt: skip


def _inside(context: Context, system: str, heat: np.ndarray, study: Study) -> Comparison:
    share = heat_inside(np.where(study.ignored, 0.0, heat), study.lungs)
    return context.judge(system, "heat inside the lungs", None, plain_value(share))


def _looked(context: Context, model: Model, run: Trained) -> list[Comparison]:
    found = measured(context, run).figures(context.budget.bootstrap, context.seed)
    return [context.judge(model.name, TITLES[name], None, found[name]) for name in _SHOWN if name in found]


def _item(name: str, title: str, run, model: Model) -> Item:
    return Item(name, title, run, "split test" + (f"; weights {model.start}" if model.start else ""), trains=True)


_THREE = ("normal", "cap", "covid")
_MORE = partial(gallery, each=12, columns=4, skip=6)
ITEMS = (
    _item("figure-10", "Grad-CAM of base model v1 on six positives", partial(gallery, model=BASE_V1), BASE_V1),
    _item("figure-12", "Base model v2 by Grad-CAM and LIME", figure_12, BASE_V2),
    _item("figure-15", "Grad-CAM of COVID-CXNet v1", partial(gallery, model=CXNET_V1), CXNET_V1),
    _item("figure-16", "CheXNet and COVID-CXNet on one image", figure_16, CXNET_V1),
    _item("figure-18", "Grad-CAM of COVID-CXNet v2 (segmented lungs)", partial(gallery, model=CXNET_V2), CXNET_V2),
    _item("figure-19", "Grad-CAM of multiclass COVID-CXNet",
          partial(gallery, model=FLAT, labels=_THREE, each=2, columns=2), FLAT),
    _item("figure-20", "Appendix A: more Grad-CAM of COVID-CXNet v1", partial(_MORE, model=CXNET_V1), CXNET_V1),
    _item("figure-21", "Appendix B: more Grad-CAM of COVID-CXNet v2", partial(_MORE, model=CXNET_V2), CXNET_V2),
    _item("figure-22", "Appendix C: more Grad-CAM of multiclass COVID-CXNet",
          partial(gallery, model=FLAT, labels=_THREE, each=4, columns=4, skip=2), FLAT),
)  # fmt: skip
