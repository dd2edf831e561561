"""What is recorded, and what a state is worth: sets, decoded images and labels. `runs` has checkpoints and exports.

A case is a real change of a working folder:

    earlier = prepare()         makes the folder's content before the change, and returns what is right until then
    act()                       the change, as a script makes it; what it prints is what it acknowledges
    expected = expect()         what is right afterwards, read from the folder
    examine(said, go_on)        what a state is worth, when the program goes on in it

All are called in processes of their own, in the working folder, with the script's command line in sys.argv. `go_on` is
the program: its entry function, or its command.
"""

import contextlib
import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import captcha_data
import captcha_label
import captcha_producer
from captcha_cli import UserError, run
from captcha_pages.tables import Table
from captcha_sets.drawing import produce
from captcha_sets.manifest import SPLITS, open_manifest, read_manifest
from captcha_sets.pixels import verified_records
from captcha_sets.pool import draw_many
from captcha_sets.replace import write_split
from captcha_sets.shards import examples

import numpy as np
from conftest import DRAWING, SMALL, TRAINING, command, options

RECOVERED, REFUSED, LOST, SILENT, TRACEBACK = VERDICTS = ("recovered", "refused", "lost", "silent", "traceback")
CONFIG = replace(SMALL, train_count=24, validation_count=10, images_per_shard=10, batch_size=8, max_steps=6,
                 eval_every=2, keep_checkpoints=2)  # fmt: skip
OTHER = replace(CONFIG, seed=2)
ALIKE = 4  # captchas, of the sets whose pixels are mixed up; more than a file's beginning that is compared
TRAIN_WORDS = [*options((*TRAINING, "keep_checkpoints"), CONFIG), "--workers", "1"]
Ended = tuple[int, str]  # exit status, what was said


def ended(main: Callable[[], int | None]) -> Ended:
    """How a script with this main function would end."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            run(main)
        except SystemExit as end:
            return end.code or 0, said.getvalue()


def failure(status: int, said: str) -> str:
    """The verdict where it did not go on: refused, if it ended with one error that a user can correct."""
    one_line = status == 2 and sum("error: " in line for line in said.splitlines()) == 1
    return REFUSED if one_line else TRACEBACK


class Case:
    """See the module."""

    kind = ""  # a row of the table
    script = ""
    words: list[str] = []  # noqa: RUF012
    earlier: object = None
    expected: object = None

    def prepare(self) -> object: ...

    def act(self) -> object: ...

    def expect(self) -> object: ...

    def examine(self, said: str, go_on: Callable[[], Ended]) -> str: ...

    def go_on(self) -> Ended:
        """By the entry function."""
        return ended(self.act)

    def command(self) -> Ended:
        """By the command, as a shell starts it."""
        done = subprocess.run(command(self.script, *self.words), capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr


class Sets(Case):
    """A set is drawn: the first one, or one in the place of another."""

    kind, script = "sets", "captcha_producer.py"
    words = [*options(DRAWING, OTHER), "--seed", "2", "--workers", "1", "--update"]  # noqa: RUF012

    def __init__(self, replaced: bool) -> None:
        self._replaced = replaced

    def prepare(self) -> dict[str, list | None]:
        for split in SPLITS if self._replaced else ():
            produce(split, CONFIG)
        return self.expect()

    def act(self) -> None:
        captcha_producer.main()

    def expect(self) -> dict[str, list | None]:
        return {split: drawn(split) for split in SPLITS}

    def examine(self, said: str, go_on: Callable[[], Ended]) -> str:
        for split in SPLITS:
            found = drawn(split)
            if f"{split}: {len(self.expected[split])} captchas in" in said and found != self.expected[split]:
                return LOST
            if found not in (None, self.expected[split], self.earlier[split]):
                return SILENT
        status, told = go_on()
        if status:
            return failure(status, told)
        return RECOVERED if self.expect() == self.expected else LOST


def drawn(split: str) -> list[tuple[str, bytes]] | None:
    """The captchas of a split, as the trainer reads them; None where it would refuse."""
    with contextlib.suppress(UserError):
        return list(examples(open_manifest(split, CONFIG), CONFIG))


class Pixels(Case):
    """Images are decoded: for the first time, or of a set that took another's place."""

    kind, script, words = "pixels", "captcha_train.py", TRAIN_WORDS

    def __init__(self, replaced: bool) -> None:
        self._replaced = replaced

    def prepare(self) -> None:
        for split in SPLITS:
            produce(split, CONFIG, images=False)
            if self._replaced:
                self._decode_another(split)

    def _decode_another(self, split: str) -> None:
        """Decode a set whose file of pixels begins alike, and put the right set back."""
        captchas = drawn(split)
        another = (captcha for captcha in [*captchas[:ALIKE], *captchas[:ALIKE:-1], captchas[ALIKE]])
        write_split(another, len(captchas), split, CONFIG, images=False)
        captcha_data.open_pixels(read_manifest(split, CONFIG), CONFIG)
        produce(split, CONFIG, images=False)

    def act(self) -> None:
        self.expect()

    def expect(self) -> list[bytes]:
        return [self._pixels(split) for split in SPLITS]

    def _pixels(self, split: str) -> bytes:
        records = captcha_data.open_pixels(read_manifest(split, CONFIG), CONFIG)
        return b"".join(array.tobytes() for array in verified_records(records, np.arange(len(records))))

    def examine(self, said: str, go_on: Callable[[], Ended]) -> str:
        status, told = go_on()
        if status:
            again, _ = go_on()
            return LOST if again else failure(status, told)
        return RECOVERED if self.expect() == self.expected else SILENT


class Labels(Case):
    """Labels are typed, one is corrected, and one is taken back."""

    kind, script = "labels", "captcha_label.py"
    words = ["pictures", "--model", "digits", "--port", "0"]  # noqa: RUF012
    # Long names, so that the lines of a few labels cross the boundaries of sectors.
    files = tuple(f"a-picture-with-a-long-name-of-which-{'few-' * 45}fill-a-sector-{i:02}.png" for i in range(30))
    typed = (*((i, f"{i:04}") for i in range(24)), (2, "2222"), (3, ""), *((i, f"{i:04}") for i in range(24, 29)))

    def prepare(self) -> None:
        Path("pictures").mkdir()
        pictures = draw_many(range(len(self.files)), "own", CONFIG)
        for file, (_, encoded) in zip(self.files, pictures, strict=True):
            Path("pictures", file).write_bytes(encoded)

    def act(self) -> None:
        labelling = captcha_label.labelling_of(Path("pictures"), "digits", None)
        for index, text in self.typed:
            self._type(labelling, self.files[index], text)
            print("typed", flush=True)

    def _type(self, labelling: object, file: str, text: str) -> None:
        """Type a label, or mark the picture as unreadable, and confirm what the page asks."""
        seen = labelling.open("tab", file)["label"]
        if not text:  # unreadable
            labelling.unreadable("tab", file, seen)
            return
        question = labelling.label("tab", file, text, seen, "").get("question")
        if question:
            labelling.label("tab", file, text, seen, question)

    def examine(self, said: str, go_on: Callable[[], Ended]) -> str:
        """Whether every label that was acknowledged is there, and besides at most the one that was being typed."""
        count = said.count("typed")
        allowed = [self._tables_after(done) for done in (count, min(count + 1, len(self.typed)))]
        status, told = go_on()
        if status:
            return failure(status, told)
        for name, columns in (("labels", ("file", "label")), ("unreadable", ("file",))):
            rows = Table(Path("pictures", f"{name}.csv"), columns).rows
            rows.pop(self.files[-1], None)  # which the program that goes on labels
            if rows not in [tables[name] for tables in allowed]:
                return LOST if allowed[0][name].keys() - rows.keys() else SILENT
        return RECOVERED

    def _tables_after(self, count: int) -> dict[str, dict]:
        tables = {"labels": {}, "unreadable": {}}
        for index, text in self.typed[:count]:
            file = self.files[index]
            if text:
                tables["labels"][file] = (text,)
            else:
                del tables["labels"][file]
                tables["unreadable"][file] = ()
        return tables

    def go_on(self) -> Ended:
        def label_one_more() -> None:
            self._type(captcha_label.labelling_of(Path("pictures"), "digits", None), self.files[-1], "1111")
            assert json.dumps(Table(Path("pictures/labels.csv"), ("file", "label")).rows[self.files[-1]]) == '["1111"]'

        return ended(label_one_more)

    def command(self) -> Ended:
        """Start the server, and end it when it says where it is."""
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        process = subprocess.Popen(command(self.script, *self.words), **how)
        said = []
        for line in process.stdout:
            said.append(line)
            if "open http" in line:
                process.kill()
        status = process.wait()
        return max(status, 0), "".join(said)
