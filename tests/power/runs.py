"""What is recorded, and what a state is worth: checkpoints and exports. See `cases`."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import captcha_export
import captcha_model
import captcha_train
from captcha_config import Config
from captcha_predict import Reader, UserError
from captcha_runs import checkpoint_files, checkpoints, optimizer
from captcha_runs.checkpoint_files import BEST, LATEST
from captcha_sets.drawing import produce
from captcha_sets.manifest import SPLITS, read_manifest

import numpy as np
import tensorflow as tf
from cases import CONFIG, LOST, RECOVERED, SILENT, TRAIN_WORDS, Case, Ended, failure
from conftest import files

WRONG = "other values than were saved"
IMAGES = np.random.default_rng(1).integers(0, 256, (4, CONFIG.height, CONFIG.width, 3), np.uint8)


def save_run(config: Config) -> None:
    """Resume, and save up to the last step, as the training loop does; the network's values are the step's number."""
    manifests = {split: read_manifest(split, config) for split in SPLITS}
    logits = np.zeros((config.validation_count, config.length, len(config.characters) + 1), np.float32)
    labels = np.zeros(logits.shape[:2], np.int32)
    with checkpoints.Checkpoints(config, manifests, set_aside=True) as opened:
        model = captcha_model.build(config)
        muon = optimizer.build(model, config, opened.cycle_start)
        opened.restore(model, muon.variables)
        variables = [*model.variables, *muon.variables]
        print(f"resuming from step {opened.step}")
        if opened.step and any((variable.numpy() != opened.step).any() for variable in variables):
            print(WRONG)
        for step in range(opened.step + config.save_every, config.max_steps + 1, config.save_every):
            for variable in variables:
                variable.assign(tf.fill(variable.shape, tf.cast(step, variable.dtype)))
            opened.judge(step, logits, labels)
            print(f"step {step}/{config.max_steps}  {opened.save(step, latest=True)}", flush=True)


class Checkpoints(Case):
    """A run is saved several times: the first in its folder, or one that sets an earlier run aside."""

    kind, script, words = "checkpoints", "captcha_train.py", [*TRAIN_WORDS, "--set-aside"]

    def __init__(self, replaced: bool) -> None:
        self._replaced = replaced

    def prepare(self) -> dict[str, bytes]:
        for split in SPLITS:
            produce(split, CONFIG, images=False)
        if self._replaced:
            save_run(replace(CONFIG, shift=1, max_steps=2))
        return files(Path("save"))

    def act(self) -> None:
        save_run(CONFIG)

    def examine(self, said: str, go_on: Callable[[], Ended]) -> str:
        saved = max(map(int, re.findall(r"^step (\d+)/.*  saved$", said, re.M)), default=0)
        status, told = go_on()
        if status:
            return failure(status, told)
        resumed = int(re.search(r"(?:resuming from|starting at) step (\d+)", told)[1])
        if resumed < saved or (self._replaced and files(Path("save/before-1")) != self.earlier):
            return LOST
        end = checkpoint_files.newest(Path("save"), LATEST, BEST)["step"]
        return SILENT if WRONG in told or end != CONFIG.max_steps else RECOVERED


class Exports(Case):
    """The best checkpoint is exported: over earlier exports, or with its weights to another folder."""

    kind, script = "exports", "captcha_export.py"

    def __init__(self, to: str | None) -> None:
        self._folder, self._to = Path(to or "save"), to
        self.words = ["--to", to] if to else ["--formats", "litert", "saved_model"]
        self._names = ["model.tflite"] if to else ["model.tflite", "saved_model"]

    def prepare(self) -> dict[str, np.ndarray | None]:
        for split in SPLITS:
            produce(split, CONFIG, images=False)
        captcha_train.train(replace(CONFIG, max_steps=2))
        if not self._to:
            captcha_export.export(CONFIG, ("litert", "saved_model"))
            captcha_train.train(replace(CONFIG, max_steps=4))
        return self.expect()

    def act(self) -> None:
        captcha_export.main()

    def expect(self) -> dict[str, np.ndarray | None]:
        return {name: predictions(self._folder / name) for name in self._names}

    def examine(self, said: str, go_on: Callable[[], Ended]) -> str:
        for name, found in self.expect().items():
            acknowledged = f"{self._folder / name}: " in said
            whole = [self.expected[name]] if acknowledged else [self.expected[name], self.earlier[name]]
            if found is None and not acknowledged:  # killed between two renames, or before the first export
                found = predictions(self._folder / f"{name}.old")
            if not any(same(found, one) for one in whole):
                return LOST if found is None else SILENT
        if self._to and f"{self._to}/" in said and not checkpoint_files.newest(self._folder, BEST):
            return LOST
        status, told = go_on()
        if status:
            return failure(status, told)
        return RECOVERED

    def go_on(self) -> Ended:
        """Read with what is there. (The command exports again.)"""
        return 0, ""


def predictions(path: Path) -> np.ndarray | None:
    """What an export makes of some images; None where it is not there, or refused."""
    try:
        if not path.is_dir():
            return Reader(path).logits(IMAGES)
        network = tf.saved_model.load(str(path))  # it holds the variables, and so has to stay
        return network.serve(IMAGES).numpy()
    except (UserError, OSError, tf.errors.OpError):
        return None


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other is None or (one is not None and other is not None and np.allclose(one, other, atol=1e-5))
