"""What a finished training on own images says: fine, more labels, or memorized."""

from dataclasses import replace

import captcha_train
from captcha_runs.verdict import in_words
from captcha_sets.draw import draw
from captcha_sets.importing import import_images
from captcha_sets.manifest import SPLITS

import pytest
from conftest import SMALL, in_folder


@pytest.mark.parametrize(
    ("training", "held_out", "said"),
    [
        (1.0, (0.98, 0.99), ": fine"),
        (
            0.99,
            (0.8, 0.9),
            "captcha accuracy 99% in training, 80% in validation: more labels",
        ),
        (0.99, (0.02, 0.3), "(characters 30%): it has memorized its images"),
        (0.6, (0.0, 0.1), "(characters 10%): it has memorized its images"),
        (0.1, (0.1, 0.4), "it underfits; train for more steps (--max_steps 24)"),
        (0.91, (0.96, 0.99), "it underfits"),
    ],
)
def test_the_verdict_depends_on_both_accuracies(training, held_out, said):
    held_out = dict(zip(("captcha_accuracy", "character_accuracy"), held_out, strict=True))
    assert said in in_words(training, held_out, 1000, 5000, SMALL)


def test_it_says_how_many_labels_there_are():
    held_out = {"captcha_accuracy": 0.8, "character_accuracy": 0.9}
    assert in_words(1.0, held_out, 60, 300, SMALL).endswith("more labels would help (you have 300)")


@pytest.mark.parametrize(("count", "said"), [(1000, ": fine"), (20, ": fine, as far as 20 images can tell")])
def test_few_validation_images_are_said_to_tell_little(count, said):
    held_out = {"captcha_accuracy": 1.0, "character_accuracy": 1.0}
    assert in_words(1.0, held_out, count, 5 * count, SMALL).endswith(said)


@pytest.mark.parametrize(
    ("init_from", "advice"),
    [("", "--init_from starter"), ("digits", "--init_from starter"), ("starter", "without --init_from")],
)
def test_after_memorizing_it_names_another_network_to_start_from(init_from, advice):
    held_out = {"captcha_accuracy": 0.0, "character_accuracy": 0.1}
    assert f"train another network ({advice})" in in_words(1.0, held_out, 60, 300, replace(SMALL, init_from=init_from))


def test_a_network_that_memorized_wrong_labels_is_reported_as_memorizing(tmp_path, capsys):
    """Labels that have nothing to do with the images can be learnt, but not predicted."""
    source = tmp_path / "mine"
    source.mkdir()
    for i in range(40):
        label = draw(i, "other", SMALL)[0]
        draw(i, "own", SMALL)[1].save(source / f"{i}_{label}.png")
    config = replace(in_folder(tmp_path), channels=(16, 16), max_steps=150, eval_every=150, save_every=150, shift=0)
    import_images(source, SPLITS, config, typed=("characters", "length", "width", "height"), images=False)
    assert captcha_train.train(config) == 0
    assert "it has memorized its images" in capsys.readouterr().out


def test_drawn_captchas_get_no_verdict(config, capsys):
    captcha_train.train(replace(config, max_steps=1))
    assert "in training, " not in capsys.readouterr().out
