"""What people and browsers give: labels, settings, command lines, requests to the pages."""

import asyncio
import dataclasses
import functools
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import captcha_evaluate
import captcha_export
import captcha_predict
import captcha_producer
import captcha_strength
import captcha_train
from captcha_cli import parse_args
from captcha_config import Config
from captcha_pages import checking, labelling, reading, server
from captcha_pages.pictures import Pictures
from captcha_pages.tables import Table
from captcha_predict import __main__ as predict_command
from captcha_predict.images import LABELS, TABLES, images_in
from captcha_runs import trained
from captcha_sets.labelled import labelled_images
from captcha_sets.labels import csv_labels
from captcha_strengths.settings import grid

from mutations import Mutator
from sets import CONFIG, real_pictures

SCRIPTS: tuple[ModuleType, ...] = (
    captcha_train, captcha_producer, captcha_evaluate, captcha_export, captcha_strength,
)  # fmt: skip
WORDS = ("--xla", "source", "--vary noise_dots 0 30", "--sizes 30", "--fresh 9", "--json", "--fg_color 0 0 9")
FLAGS = {field.name for field in dataclasses.fields(Config) if field.type is bool or not field.default}
DRAWN = {"number": 1, "noise_dots": 3, "noise_curves": 1, "rotation": 9, "font_size": 40, "length": 4}
STATUSES = (200, 400, 403, 404, 405, 413)  # of a page's response


def labels_csv(work: Path, mutator: Mutator) -> None:
    folder = _pictures(work)
    (folder / "own.csv").write_bytes(mutator.text('file,label\np0.png,2704\np1.jpg,"0318"\n'))
    for file, label in csv_labels(folder / "own.csv"):
        assert file and isinstance(label, str)
    labelled_images(folder / "own.csv", CONFIG)


def labels_table(work: Path, mutator: Mutator) -> None:
    """The table of the labelling page: what is put is there after the next start, and nothing else has changed."""
    path = work / "labels.csv"
    path.write_bytes(mutator.text("file,label\np0.png,2704\np1.jpg,0318\n"))
    table = Table(path, ("file", "label"))
    before = dict(table.rows)
    table.put("new.png", "1234")
    table.remove("p1.jpg")
    expected = {**before, "new.png": ("1234",)}
    expected.pop("p1.jpg", None)
    assert Table(path, ("file", "label")).rows == expected


def _pictures(work: Path) -> Path:
    folder = work / "pictures"
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(("p0.png", "p1.jpg")):
        (folder / name).write_bytes(real_pictures()[7 * i])
    return folder


def suspects(work: Path, mutator: Mutator) -> None:
    folder, listed = _pictures(work), {"labels": {"p0.png": "2704", "p1.jpg": "0318"}}
    listed["suspects"] = [{"file": "p0.png", "label": "2704", "prediction": "2764", "times": "1,200"}]
    for name in TABLES:
        (folder / name).unlink(missing_ok=True)
    (work / "suspects.json").write_bytes(mutator.json(listed))
    found = checking.read_suspects(work / "suspects.json")
    reader = captcha_predict.load("digits")
    page = checking.Checking(folder, Pictures(folder, found["labels"], reader), reader, found)
    json.dumps(page.open("tab", "")).encode()
    assert Table(folder / LABELS, ("file", "label")).rows == page._labels.rows


def config_values(work: Path, mutator: Mutator) -> None:
    values = json.loads(json.dumps(mutator.values(dataclasses.asdict(Config()))))
    config = Config.from_dict(values)
    again = json.loads(json.dumps(dataclasses.asdict(config)))
    assert Config.from_dict(again) == config
    assert all(math.isfinite(value) for value in vars(config).values() if isinstance(value, int | float))


def command_line(work: Path, mutator: Mutator) -> None:
    script = mutator.choice(SCRIPTS)
    own = [f"--{name} {_in_words(getattr(Config, name))}" for name in script.FIELDS if name not in FLAGS]
    words = mutator.rng.choices((*own, *WORDS), k=mutator.choice((1, 1, 2, 3))) if mutator.rng else own[:2]
    sys.argv = [f"{script.__name__}.py", *mutator.words(" ".join(words).split())]
    config, args = parse_args(script.__doc__, script.FIELDS, getattr(script, "add_arguments", None))
    assert Config.from_dict(dataclasses.asdict(config)) == config
    grid(config, getattr(args, "vary", []))


def _in_words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def predict_command_line(work: Path, mutator: Mutator) -> int:
    words = [str(_pictures(work) / "p0.png"), "--model", "digits", "--characters", "0123456789", "--json"]
    sys.argv = ["captcha_predict", *mutator.words(words)]
    return predict_command.read_paths()


def page_requests(work: Path, mutator: Mutator) -> None:
    """Requests to the labelling page and to the try-out page, as a server gets them."""
    folder = _pictures(work)
    values = {"tab": "a", "file": "p0.png", "text": "2704", "seen": "", "sure": ""}
    names = {"/label": values.keys(), "/open": ("tab", "file"), "/skip": ("tab", "file"),
             "/unreadable": ("tab", "file", "seen")}  # fmt: skip
    path = mutator.choice(("/label", "/open", "/skip", "/unreadable", "/api/draw", "/api/read", "/picture"))
    if path == "/api/draw":
        body = mutator.json(DRAWN)
    elif path == "/api/read":
        body = mutator.file(mutator.choice(real_pictures()))
    else:
        body = mutator.json({name: values[name] for name in names.get(path, ())})
    routes = _try_out_routes() if path.startswith("/api") else _labelling_routes(folder)
    query = quote(mutator.text("file=p0.png"), safe="=&%").encode()
    status = asyncio.run(_respond(server.application(routes), path, query, body))
    assert status in STATUSES, status


def _labelling_routes(folder: Path) -> list:
    for name in TABLES:
        (folder / name).unlink(missing_ok=True)
    reader = captcha_predict.load("digits")
    return labelling.Labelling(
        folder, Pictures(folder, [path.name for path in images_in(folder)], reader), reader
    ).routes()


@functools.cache
def _try_out_routes() -> list:
    return reading.routes(trained.of_export("digits", CONFIG), CONFIG)


async def _respond(application, path: str, query: bytes, body: bytes) -> int:
    """The status of the response to a request."""
    sent = []

    async def receive() -> dict:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET" if path == "/picture" else "POST",
        "path": path,
        "query_string": query,
        "headers": [(b"host", b"localhost")],
    }
    await application(scope, receive, send)
    return sent[0]["status"]


KINDS = (
    labels_csv, labels_table, suspects, config_values, command_line, predict_command_line, page_requests,
)  # fmt: skip
