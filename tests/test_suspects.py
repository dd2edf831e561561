"""Labels that are probably wrong: found by networks that did not train on them."""

import json
import random
from dataclasses import replace

import captcha_suspects
from captcha_cli import UserError
from captcha_config import Config
from captcha_sets.draw import draw

import numpy as np
import pytest
from conftest import SMALL, errors, run

COUNT, WRONG = 240, 12
QUICK = replace(SMALL, noise_dots=0, noise_curves=0, channels=(8, 16), max_steps=150, warmup_steps=5)
OPTIONS = ("--channels", 8, 16, "--max_steps", 150, "--warmup_steps", 5, "--batch_size", 16)


@pytest.fixture(scope="module")
def mislabelled(tmp_path_factory):
    """A folder of images, and the names of those with one character of the label changed."""
    folder, rng, wrong = tmp_path_factory.mktemp("mislabelled"), random.Random(1), set()
    for i in range(COUNT):
        text, image = draw(i, "own", QUICK)
        name = f"{i:04}_{text}.png"
        if i < WRONG:
            other = rng.choice([character for character in SMALL.characters if character != text[0]])
            name = f"{i:04}_{other}{text[1:]}.png"
            wrong.add(name)
        image.save(folder / name)
    return folder, wrong


@pytest.fixture(scope="module")
def done(mislabelled, tmp_path_factory):
    """The command, after it has run: what it printed, the page, and what it wrote as JSON."""
    folder = tmp_path_factory.mktemp("suspects")
    outputs = ("--report", "suspects.html", "--json", "suspects.json")
    done = run("captcha_suspects.py", mislabelled[0], *OPTIONS, *outputs, cwd=folder)
    assert done.returncode == 0, done.stderr
    page, written = ((folder / f"suspects.{kind}").read_text(encoding="utf-8") for kind in ("html", "json"))
    return done.stdout, page, json.loads(written)


def test_wrong_labels_come_first(done, mislabelled):
    first = {row["file"] for row in done[2]["suspects"][:WRONG]}
    assert len(first & mislabelled[1]) >= 0.75 * WRONG


def test_a_suspect_has_the_label_and_the_prediction(done):
    suspects = done[2]["suspects"]
    assert suspects
    for row in suspects:
        assert row["file"].endswith(f"_{row['label']}.png")
        assert row["prediction"] != row["label"]
    times = [int(row["times"].replace(",", "")) for row in suspects]
    assert times == sorted(times, reverse=True)


def test_no_image_is_read_by_a_network_that_trained_on_it(monkeypatch):
    """Each network's images and those that it reads are, together, all of them, and have none in common."""
    networks = []

    class Network:
        def __init__(self, config):
            networks.append(self)

        def train_on(self, records, config):
            self.trained_on = set(records["images"][:, 0, 0, 0].tolist())
            yield

        def predict(self, images, **how):
            read = set(images[:, 0, 0, 0].tolist())
            assert not read & self.trained_on and read | self.trained_on == set(range(10))
            return np.zeros((len(images), 2, 4), np.float32)

    monkeypatch.setattr(captcha_suspects, "new_network", Network)
    monkeypatch.setattr(captcha_suspects, "train_on", Network.train_on)
    monkeypatch.setattr(captcha_suspects, "in_memory", lambda images, labels, config: {"images": images})
    images = np.zeros((10, 4, 4, 1), np.uint8) + np.arange(10, dtype=np.uint8)[:, None, None, None]
    captcha_suspects.held_out_logits(images, np.zeros((10, 2), np.int32), SMALL)
    assert len(networks) == captcha_suspects.PARTS


def test_a_training_that_diverged_is_an_error(monkeypatch):
    monkeypatch.setattr(captcha_suspects, "_opened", lambda *_: (np.zeros((8, 4, 4, 1)), np.zeros((8, 2), np.int32)))
    monkeypatch.setattr(captcha_suspects, "held_out_logits", lambda *_: np.full((8, 2, 4), np.nan, np.float32))
    message = r"the training diverged; try a lower learning rate \(--learning_rate 0.001\)"
    with pytest.raises(UserError, match=message):
        captcha_suspects.suspects([], replace(SMALL, learning_rate=0.002))


def test_the_probability_of_a_label_ends_with_the_text():
    config = Config(characters="ab", length=3, min_length=1)
    predicted = np.array([[[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [0.9, 0.1, 0.0]]])
    for labels, probability in (([0, 2, 2], 0.25), ([0, 1, 0], 0.1125)):
        found = captcha_suspects._log_probability(np.array([labels]), predicted, config)
        assert found == pytest.approx(np.log(probability))


def test_the_command_lists_them_and_writes_a_page_with_their_images(done, mislabelled):
    printed, page, written = done
    listed = [name for name in mislabelled[1] if name[:9] in printed]
    assert len(listed) >= 0.75 * WRONG
    assert all(name in page for name in listed)
    assert page.count("data:image/png;base64,") == len(written["suspects"]) == int(printed.split()[0])
    assert len(written["labels"]) == COUNT


def test_a_folder_with_too_few_images_is_refused_in_one_line(tmp_path):
    draw(0, "own", SMALL)[1].save(tmp_path / "12.png")
    done = run("captcha_suspects.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = errors(done.stderr)
    assert "only 1 usable images; at least 4 are needed" in line


def test_images_that_the_page_could_not_find_again_are_refused_before_any_training(tmp_path):
    (tmp_path / "mine").mkdir()
    rows = ["file,label"]
    for i in range(4):
        draw(i, "own", QUICK)[1].save(tmp_path / f"{i}.png")
        rows.append(f"../{i}.png,0{i}")
    (tmp_path / "mine" / "labels.csv").write_text("\n".join(rows))
    done = run("captcha_suspects.py", "mine/labels.csv", "--json", "suspects.json", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = errors(done.stderr)
    assert "--json: mine/../0.png: is not in mine, or its name is not UTF-8; move or rename it" in line
