"""Score the best checkpoint, or an exported model, on the validation split or on newly drawn captchas.

python captcha_evaluate.py
python captcha_evaluate.py --fresh 20000 --seed 7
python captcha_evaluate.py --model letters --fresh 20000
"""

import argparse
import functools
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from captcha_cli import UserError, parse_args, quiet_import, run, start_litert, track

with quiet_import(__name__):
    import captcha_model

import captcha_predict
from captcha_config import Config
from captcha_predict.images import open_image
from captcha_runs import log, trained, transfer
from captcha_runs.scores import Results, score
from captcha_runs.trained import DRAWN_FIELDS, Trained
from captcha_sets.draw import check_trusted, draw
from captcha_sets.files import check_writable
from captcha_sets.manifest import VALIDATION, manifest_for_model
from captcha_sets.pixels import arrays
from captcha_sets.pool import draw_many, is_repeatable
from captcha_sets.shards import examples
from captcha_sets.sheet import print_table

from PIL import Image
from rich.table import Table

OWN_FIELDS = ("seed", "workers", "tfrecords_dir", "save_dir")
FIELDS = (*OWN_FIELDS, *DRAWN_FIELDS)
FRESH = "fresh/captchas"  # drawn as a split of this name; the sets have others, and so other captchas
MAX_FRESH = 10**9
BATCH_SIZE = 256


def predict(config: Config, fresh: int = 0, model: str | Path | None = None, typed: Collection[str] = ()) -> Results:
    """Run a network on the validation split, or on `fresh` captchas that no training has seen.

    Args:
      config: save_dir, tfrecords_dir and workers; and the seed of the fresh captchas. Characters, lengths and size are
        those that the network was trained with.
      fresh: captchas to draw; 0: the validation split.
      model: an exported model, named as captcha_predict.find takes it; None: the best checkpoint in config.save_dir.
      typed: names of fields that say how to draw the fresh captchas. For the others the values count that the training
        captchas were drawn with.
    Raises:
      UserError: there is no checkpoint or model, or no validation split that fits it; fresh captchas are asked for
        where the training images were imported; or the drawer is another module's, which runs only if the config names
        it.
    """
    network = trained.of_export(model, config, OWN_FIELDS) if model else trained.of_checkpoint(config, OWN_FIELDS)
    if fresh:
        captchas, images = _fresh(fresh, _drawn_like(network, config, typed))
        source = f"fresh captchas, seed {config.seed}"
    else:
        manifest = manifest_for_model(VALIDATION, network.config)
        captchas, images = examples(manifest, network.config), functools.partial(_pick, manifest, network.config)
        source = "validation split"
    logits, labels = captcha_model.predict(network.logits, arrays(captchas, BATCH_SIZE, network.config))
    return Results(logits, labels, images, network.config, network.name, source, network.saved, network.look)


def _drawn_like(network: Trained, config: Config, typed: Collection[str]) -> Config:
    """The config to draw captchas with that are like those of the training, but for what was typed."""
    drawn_with = network.drawn_with
    if drawn_with["source"] is not None:
        raise UserError(
            f"--fresh: the network was trained on images imported from {drawn_with['source']}, which cannot be drawn;"
            " leave out --fresh to score the validation split"
        )
    given = {name: getattr(config, name) for name in DRAWN_FIELDS if name in typed}
    like = trained.drawn_like(network, drawn_with | given)
    check_trusted(like.drawer, config)
    return like


def _fresh(count: int, like: Config) -> tuple:
    captchas = track(draw_many(range(count), FRESH, like), count, "fresh captchas")
    if is_repeatable(FRESH, like):
        return captchas, lambda indices: [draw(int(index), FRESH, like)[1] for index in indices]
    kept: list[tuple[str, bytes]] = []  # the report shows some of them, which cannot be drawn again
    return _kept(captchas, kept), lambda indices: [open_image(kept[index][1]) for index in indices]


def _kept(captchas: Iterator, kept: list) -> Iterator:
    for captcha in captchas:
        kept.append(captcha)
        yield captcha


def _pick(manifest: dict, config: Config, indices: Sequence[int]) -> list[Image.Image]:
    """The captchas of a split with these indices, in one pass over its shards."""
    wanted = set(indices)
    found = {
        index: open_image(encoded) for index, (_, encoded) in enumerate(examples(manifest, config)) if index in wanted
    }
    return [found[index] for index in indices]


def check_report(path: Path) -> None:
    """Raise now what would stop the report after all captchas are scored."""
    from captcha_runs import report  # noqa: F401  # it brings matplotlib and Jinja2, which nothing else needs

    check_writable(path, "--report")


def write_report(path: Path, scored: dict, results: Results) -> None:
    """Write all results as one HTML page."""
    from captcha_runs import report

    model = Path(results.model)
    trained_in = transfer.WEIGHTS / model.stem if model.parent == captcha_predict.MODELS else model.parent
    report.write(path, scored, results, log.read(trained_in))
    print(f"{path}: open it in a browser", file=sys.stderr)


def print_score(scored: dict) -> None:
    low, high = scored["interval"]
    print(f"{scored['model']} on {scored['count']} captchas ({scored['source']})")
    print(f"captcha accuracy    {scored['captcha_accuracy']:7.2%}  (95 % interval {low:.2%} to {high:.2%})")
    print(f"character accuracy  {scored['character_accuracy']:7.2%}")
    print(f"calibration error   {scored['calibration_error']:7.2%}")
    if len(scored["by_length"]) > 1:
        table = Table("characters", "captcha accuracy", "captchas")
        for length, part in scored["by_length"].items():
            table.add_row(str(length), f"{part['captcha_accuracy']:.2%}", str(part["count"]))
        print_table(table)
    table = Table("confidence at least", "share of captchas", "accuracy on these")
    for row in scored["thresholds"]:
        table.add_row(f"{row['threshold']:.4f}", f"{row['share_read']:.2%}", f"{row['accuracy']:.2%}")
    print_table(table)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fresh", type=int, default=0, metavar="N", help="score N captchas drawn now, by --seed")
    parser.add_argument(
        "--model",
        help="score an exported model: a file, a folder that the trainer saved to, or the name of a shipped one",
    )
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write all results as one HTML page")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def main() -> None:
    config, args = parse_args(__doc__, FIELDS, add_arguments)
    if not 0 <= args.fresh <= MAX_FRESH:
        raise UserError(f"--fresh {args.fresh} is out of range; it must be from 0 to {MAX_FRESH}")
    ignored = [name for name in ("seed", "workers", *DRAWN_FIELDS) if name in vars(args)]
    if ignored and not args.fresh:
        raise UserError(f"--{ignored[0]} is for fresh captchas; say how many: --fresh 20000")
    if args.model and "save_dir" in vars(args):
        raise UserError("--save_dir names a checkpoint, and --model an exported model; leave one of them out")
    if args.report:
        check_report(args.report)
    if args.model:
        start_litert()
    results = predict(config, args.fresh, args.model, vars(args))
    scored = score(results)
    if args.report:
        write_report(args.report, scored, results)
    if args.json:
        print(json.dumps(scored))
    else:
        print_score(scored)


if __name__ == "__main__":
    run(main)
