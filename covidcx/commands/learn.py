"""`covidcx train`, `lr-find`, `bundle`, `evaluate` and `card`: from a table to a measured bundle."""
# ruff: noqa: T201 - the command line prints.

import argparse
from pathlib import Path

from covidcx.commands.options import OK, command, out, positive, seed, settings
from covidcx.finding import DISCLAIMER


def _train(arguments: argparse.Namespace) -> int:
    from covidcx.training import train

    overrides = settings(arguments.set)
    result = train(arguments.recipe, arguments.data, arguments.out, overrides, resume=arguments.resume)
    print(f"best epoch {result.best_epoch} of {result.epochs}: {result.metric} {result.best_value:.4f}")
    print(f"weights: {result.weights}\nlog:     {result.out / 'log.csv'}")
    return OK


def _pretrain(arguments: argparse.Namespace) -> int:
    from covidcx.training import pretrain

    overrides = settings(arguments.set)
    result = pretrain(arguments.recipe, arguments.data, arguments.out, overrides, resume=arguments.resume)
    print(f"{result.epochs} epochs of {result.images} images without labels: loss {result.loss:.4f}")
    print(f"encoder: {result.encoder}\nlog:     {result.out / 'log.csv'}")
    print(f"start a classifier from it: covidcx train covid-cxnet ... --set initial_weights={result.encoder}")
    return OK


def _lr_find(arguments: argparse.Namespace) -> int:
    from covidcx.evaluation.plots import learning_rate_figure, save_figure
    from covidcx.training.lr_finder import find_learning_rate

    found = find_learning_rate(
        arguments.recipe, arguments.data, arguments.out, settings(arguments.set), arguments.low, arguments.high,
        arguments.steps,
    )  # fmt: skip
    title = f"Learning-rate range test of {arguments.recipe}"
    figure = learning_rate_figure(found.rates, found.losses, found.smoothed, found.suggestion, title)
    picture = save_figure(figure, arguments.out / "lr_find.png")
    print(f"steepest fall at {found.suggestion:.2e}: --set optimizer.learning_rate={found.suggestion:.2g}")
    print(f"table: {arguments.out / 'lr_find.csv'}\nplot:  {picture}")
    return OK


def _evaluate(arguments: argparse.Namespace) -> int:
    from covidcx.evaluation import evaluate, headline

    split = None if arguments.split == "all" else arguments.split
    result = evaluate(arguments.bundle, arguments.manifest, arguments.out, split, arguments.bootstrap, arguments.seed)
    for name, section in headline(result).items():
        print(f"{name}: {section['images']} images of {section['patients']} patients")
        for metric, value in section["metrics"].items():
            print(f"  {metric:32} {_interval(value)}")
    print(f"report: {arguments.out / 'REPORT.md'}\n{DISCLAIMER}")
    return OK


def _bundle_run(arguments: argparse.Namespace) -> int:
    from covidcx.deploy.from_run import bundle_from_run

    bundle = bundle_from_run(
        arguments.run_folder, arguments.out, rule=arguments.rule, gate=arguments.gate, data=arguments.trained_on,
        data_licences=arguments.data_licence,
    )  # fmt: skip
    print(f"bundle: {bundle.folder}")
    for label, point in bundle.operating_points.items():
        print(f"{label} is called at {point['threshold']:.4f}: {point['rule']}")
    return OK


def _card(arguments: argparse.Namespace) -> int:
    from covidcx.deploy.from_run import add_card

    print(f"card: {add_card(arguments.bundle, arguments.metrics)}")
    return OK


def _interval(value: dict[str, float | None]) -> str:
    middle, low, high = (value[part] for part in ("value", "low", "high"))
    if middle is None:
        return "undefined"
    return f"{middle:.3f}" + (f"  [{low:.3f}, {high:.3f}]" if low is not None and high is not None else "")


def add_train(commands) -> None:
    text = "train a recipe on a manifest; needs: pip install 'covidcx[train]'"
    example = "covidcx train lung-unet --data phantom/manifest.csv --out runs/lungs --set epochs=3"
    parser = command(commands, "train", _train, text, example)
    parser.add_argument("recipe", help="lung-unet, covid-cxnet, comit-net-small, ...")
    _resumable(parser)


def add_pretrain(commands) -> None:
    text = "learn an encoder from images without labels; needs: pip install 'covidcx[train]'"
    example = "covidcx pretrain moco-cxr-modified --data phantom/manifest.csv --out runs/moco --set epochs=3"
    parser = command(commands, "pretrain", _pretrain, text, example)
    parser.add_argument("recipe", help="moco-cxr, moco-cxr-modified, moco-v2, inpainting, inpainting-centre")
    _resumable(parser)


def _resumable(parser: argparse.ArgumentParser) -> None:
    _run_options(parser, "folder of the run: checkpoints, logs, weights")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped or killed")


def _run_options(parser: argparse.ArgumentParser, folder: str) -> None:
    parser.add_argument("--data", "--manifest", type=Path, required=True, metavar="MANIFEST", help="manifest.csv")
    parser.add_argument("--out", type=Path, required=True, help=folder)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="replace a setting; repeatable")


def add_lr_find(commands) -> None:
    text = "find a recipe's learning rate: raise it step by step, take where the loss falls most steeply"
    example = "covidcx lr-find base-model-v2 --data MANIFEST --out lr-find --set seed=1"
    parser = command(commands, "lr-find", _lr_find, text, example)
    parser.add_argument("recipe", help="base-model-v2, covid-cxnet-v1, ...")
    _run_options(parser, "folder: lr_find.csv, lr_find.json, lr_find.png")
    parser.add_argument("--low", type=float, default=1e-7, help="first rate (default: %(default)g)")
    parser.add_argument("--high", type=float, default=1.0, help="last rate (default: %(default)g)")
    parser.add_argument("--steps", type=positive, default=100, help="steps between them (default: %(default)s)")


def add_evaluate(commands) -> None:
    text = "measure a bundle on a manifest, with 95% intervals; needs: pip install 'covidcx[train]'"
    example = "covidcx evaluate covid-cxnet phantom/manifest.csv --out report --split test"
    parser = command(commands, "evaluate", _evaluate, text, example)
    parser.add_argument("bundle", help="name or folder of a bundle")
    parser.add_argument("manifest", type=Path, help="manifest.csv")
    out(parser, "evaluation")
    parser.add_argument("--split", default="test", help="a split, several with commas, or all (default: test)")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples per interval (default: 1000)")
    seed(parser)


def add_bundle(commands) -> None:
    text = "turn a finished run into a bundle; temperature and operating point are chosen on its validation rows"
    example = "covidcx bundle runs/lungs --out saved_models/lungs"
    parser = command(commands, "bundle", _bundle_run, text, example)
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that covidcx train wrote")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's folder; its name is the bundle's name")
    parser.add_argument("--rule", default="sensitivity>=0.95", help="COVID threshold (default: %(default)s)")
    parser.add_argument("--gate", metavar="BUNDLE", help="refuses what is no upright frontal chest, e.g. frontal-gate")
    parser.add_argument("--trained-on", default="", metavar="TEXT", help="the training data in a sentence")
    parser.add_argument("--data-licence", action="append", default=[], metavar="TEXT", help="its licence; repeatable")


def add_card(commands) -> None:
    text = "put measured figures and the model card into a bundle"
    parser = command(commands, "card", _card, text, "covidcx card saved_models/lungs evaluation/metrics.json")
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("metrics", type=Path, help="metrics.json that covidcx evaluate wrote for this bundle")
