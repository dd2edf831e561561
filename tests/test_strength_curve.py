"""How many labels an accuracy takes, and what is said about it."""

import json
import math
import re
import shutil
from dataclasses import replace

import captcha_model
from captcha_cli import UserError
from captcha_config import Config
from captcha_runs import checkpoint_files
from captcha_runs.checkpoint_files import BEST
from captcha_runs.transfer import WEIGHTS
from captcha_strengths import cells, humans, meaning, settings, words
from captcha_strengths.cells import Measurement
from captcha_strengths.curve import ABOVE, BELOW, curve, labels_for, non_decreasing
from captcha_strengths.humans import Human
from captcha_strengths.settings import Pool, drawn_pool, grid
from captcha_strengths.summary import summary

import numpy as np
import pytest

SIZES = (30, 100, 300, 1000, 3000, 10_000, 30_000)
COUNT = 3000  # held-out captchas


def measured(accuracies, setting="the captcha", seed=1, sizes=SIZES, count=COUNT):
    rows = zip(sizes, accuracies, strict=True)
    return [Measurement("", setting, n, "nothing", seed, round(count * p), count, n / 10) for n, p in rows]


def logistic(labels, middle, slope=1.5):
    """A curve whose logit is a straight line over ln(labels); it is at 50 % with `middle` labels."""
    return 1 / (1 + (middle / labels) ** slope)


def strength(accuracies, name="the captcha", human=None):
    pool = Pool(name, Config(), "", SIZES[-1], COUNT, None)
    return meaning.strengths(measured(accuracies, name), [pool], {name: human} if human else {})[0]


UNREADABLE = strength([0, 0, 0, 0.0003, 0, 0, 0], "white on white")
TRIVIAL = strength([0.97, 0.99, 0.999, 1, 1, 1, 1], "plain")
USUAL = strength([logistic(n, 200) for n in SIZES], "usual")
HARD = strength([logistic(n, 2000) for n in SIZES], "hard")
TOO_HARD = strength([logistic(n, 50_000) for n in SIZES], "too hard")


@pytest.mark.parametrize("middle", [50, 200, 1000])
def test_the_labels_of_a_known_curve_are_found(middle):
    _, answers = curve(measured([logistic(n, middle) for n in SIZES], count=10**6))
    for answer in answers:
        true = middle * (answer.target / (1 - answer.target)) ** (1 / 1.5)
        assert answer.labels == pytest.approx(true, rel=0.01)
        assert answer.low <= answer.labels <= answer.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits, rounds = np.random.default_rng(1), 0, 100
    true = 200 * 9 ** (1 / 1.5)
    for _ in range(rounds):
        trainings = []
        for seed in (1, 2, 3):
            logits = [math.log((n / 200) ** 1.5) + 0.2 * rng.standard_normal() for n in SIZES]
            shares = [rng.binomial(COUNT, 1 / (1 + math.exp(-logit))) / COUNT for logit in logits]
            trainings += measured(shares, seed=seed)
        answer = curve(trainings)[1][1]
        hits += answer.low <= true <= answer.high
    assert hits >= 90


def test_seeds_that_differ_make_the_interval_wider():
    one = measured([logistic(n, 200) for n in SIZES])
    differing = [m for seed, middle in ((1, 150), (2, 200), (3, 270)) for m in measured(
        [logistic(n, middle) for n in SIZES], seed=seed)]  # fmt: skip
    narrow, wide = (curve(trainings)[1][1] for trainings in (one, differing))
    assert wide.high / wide.low > 1.5 * narrow.high / narrow.low


def test_nothing_is_said_beyond_the_sizes():
    logs, logits = np.log([100.0, 1000.0]), np.array([0.0, 2.0])
    assert labels_for(-0.1, logs, logits) == BELOW
    assert labels_for(2.1, logs, logits) == ABOVE
    assert labels_for(1.0, logs, logits) == pytest.approx(math.sqrt(100 * 1000))


def test_an_accuracy_that_was_measured_counts_as_reached():
    """With 40 held-out captchas: 36 are 90 %, and 40 are more than 99 %."""
    points, answers = curve(measured([0.5, 0.9, 1], sizes=(30, 100, 300), count=40))
    assert answers[1].labels == pytest.approx(100) and 100 < answers[2].labels < 300
    assert points[-1].accuracy == points[-1].high == 1


def test_the_mean_over_the_seeds_decides_what_is_reached():
    few = [m for seed in (1, 2, 3) for m in measured([0.9, 1], sizes=(30, 100), seed=seed, count=40)]
    assert 30 < curve(few)[1][-1].labels < 100
    differing = [
        m for seed, p in ((1, 1), (2, 0.98), (3, 0.98)) for m in measured([0.8, p], sizes=(100, 300), seed=seed)
    ]
    assert curve(differing)[1][-1].labels == ABOVE  # on average 98.67 %


def test_where_accuracies_fall_their_mean_counts():
    assert non_decreasing(np.array([0.0, 2.0, 1.0, 3.0])).tolist() == [0.0, 1.5, 1.5, 3.0]
    assert non_decreasing(np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])).tolist() == [[2.0, 2.0, 2.0], [1.0, 2.0, 3.0]]


def test_a_single_size_gives_words_and_no_number():
    _, answers = curve(measured([0.95], sizes=(100,)))
    assert [answer.labels for answer in answers] == [BELOW, BELOW, ABOVE]


def test_one_captcha_that_all_seeds_hit_by_chance_is_not_reading():
    pool = Pool("white on white", Config(), "", SIZES[-1], COUNT, None)
    found = [m for seed in (1, 2, 3) for m in measured([0] * 6 + [1 / COUNT], pool.name, seed)]
    (hit,) = meaning.strengths(found, [pool], {})
    assert "(3 of 3 x 3,000 held-out captchas)" in words.answer([hit]) and hit.is_unreadable


def test_a_captcha_that_cannot_be_read_is_called_so():
    assert (
        "Not read, because even with 30,000 labels the network does no better than guessing (0 of 3,000"
        in words.answer([UNREADABLE])
    )
    assert all(answer.labels == ABOVE for answer in UNREADABLE.best_reader.answers)


def test_a_trivial_captcha_is_called_so():
    assert words.answer([TRIVIAL]).startswith(
        "Trivial, because 90% accuracy takes fewer than 30 labels, less than 5 minutes of typing."
    )


def test_a_captcha_is_not_called_trivial_where_only_larger_sizes_were_measured():
    pool = Pool("the captcha", Config(), "", 3000, COUNT, None)
    (found,) = meaning.strengths(measured([0.95, 0.99], sizes=(1000, 3000)), [pool], {})
    assert words.verdict(found) == "90% accuracy takes fewer than 1,000 labels."


def test_the_answer_about_one_captcha_has_labels_time_tries_and_people():
    said = words.answer([strength([logistic(n, 200) for n in SIZES], human=Human(50, 48))])
    assert re.match(
        r"90% accuracy takes 8[5-9]0 labels \(95 % interval [\d,]+ to [\d,]+\), 2\.\d hours of typing and ", said
    )
    assert said.endswith(
        "with 3 tries, over 99.99% of the sessions get through; people read 48 of 50, fewer than the network."
    )


def test_the_start_that_needs_the_fewest_labels_counts():
    trainings = measured([logistic(n, 2000) for n in SIZES])
    trainings += [replace(each, start="digits") for each in measured([logistic(n, 200) for n in SIZES])]
    (found,) = meaning.strengths(trainings, [Pool("the captcha", Config(), "", SIZES[-1], COUNT, None)], {})
    assert found.best_reader.start == "digits"
    assert words.verdict(found) == "90% accuracy takes 860 labels (95 % interval 800 to 940), starting from digits."


def test_an_accuracy_that_is_not_reached_is_said_in_words():
    assert "not reached with 30,000 labels" in words.answer([TOO_HARD])
    assert not TOO_HARD.is_unreadable


def test_few_characters_are_guessed_more_often():
    assert meaning.guessing(Config(characters="01", length=3)) == 1 / 8
    assert meaning.guessing(Config(characters="01", length=3, min_length=2)) == 1 / 8  # of the two lengths, the shorter


def test_the_answer_names_the_strongest_and_the_weakest_setting():
    said = words.answer([USUAL, HARD, TRIVIAL])
    assert said.startswith("hard is the strongest setting: 90% accuracy takes ")
    assert "plain is the weakest: " in said and "cannot distinguish" not in said


def test_settings_that_the_measurement_cannot_tell_apart_are_said_to_be_so():
    twin = strength([logistic(n, 2010) for n in SIZES], "twin")
    assert "The measurement cannot distinguish it from hard" in words.answer([USUAL, HARD, twin])


def test_the_answer_prefers_a_setting_that_people_read():
    stops = strength([logistic(n, 2000) for n in SIZES], "hard", Human(50, 20))
    reads = strength([logistic(n, 200) for n in SIZES], "usual", Human(50, 50))
    said = words.answer([stops, reads])
    assert "people read 20 of 50, fewer than the network" in said
    assert "Of the settings that people can read, usual is the strongest" in said
    assert stops.stops_people_more and not reads.stops_people_more


def test_several_tries_let_more_sessions_through():
    assert meaning.through(0.5, 3) == 1 - 0.5**3
    assert meaning.through(0.0, 10) == 0 and meaning.through(1.0, 1) == 1


def test_a_share_is_called_100_percent_only_if_it_is_all():
    assert [words.percent(meaning.through(accuracy, 10)) for accuracy in (0.98, 1.0)] == ["over 99.99%", "100.00%"]


def test_the_answer_names_the_setting_that_costs_people_least():
    """Usual: 4 seconds each and all read. Hard: 3 seconds each, but half are misread and take another try."""
    usual = strength([logistic(n, 200) for n in SIZES], "usual", Human(50, 50, 200.0))
    hard = strength([logistic(n, 2000) for n in SIZES], "hard", Human(50, 25, 150.0))
    assert words.answer([usual, hard]).endswith(
        " usual costs people least: 4.0 seconds for each captcha that they read."
    )
    quick = strength([logistic(n, 2000) for n in SIZES], "hard", Human(50, 50, 150.0))
    assert words.answer([usual, quick]).endswith(
        " hard costs people least: 3.0 seconds for each captcha that they read."
    )


@pytest.fixture
def pool(tmp_path):
    """Captchas of capital letters, to type."""
    (setting,) = grid(Config(characters="ABC"), [])
    return drawn_pool(setting, 100, tmp_path)


def score(pool, folder, *rows):
    lines = [",".join(humans.COLUMNS), *(f"{pool.looks}/{index},{row}" for index, row in enumerate(rows)), "cut off,AB"]
    (folder / humans.TYPED).write_text("\n".join(lines))
    return humans.typed(folder / humans.TYPED, [pool]).get(pool.name)


def test_what_was_typed_is_scored_by_captchas_and_by_characters(pool, tmp_path):
    human = score(pool, tmp_path, "AABB,AABB,2", "AABB,AABC,4", "AABB,AAB,6", "AABB,,8")
    assert (human.correct, human.shown) == (1, 4)
    assert (human.correct_characters, human.characters) == (4 + 3 + 3, 16)
    assert human.seconds_each == 5


def test_a_letter_that_captchas_have_in_one_case_only_may_be_typed_in_the_other(pool, tmp_path):
    assert score(pool, tmp_path, "AABB,aabb,2").correct == 1


def test_a_break_is_no_time_for_reading_but_its_answer_counts(pool, tmp_path):
    human = score(pool, tmp_path, "AABB,AABB,3", "AABB,AABB,4000", "AABB,AABB,")
    assert (human.correct, human.seconds_each) == (3, 3)


def test_answers_stay_with_their_setting_when_more_captchas_are_drawn_for_training(pool, tmp_path):
    more = drawn_pool(grid(Config(characters="ABC"), [])[0], 1000, tmp_path)
    other = drawn_pool(grid(Config(characters="ABCD"), [])[0], 100, tmp_path)
    assert pool.digest != more.digest and pool.looks == more.looks != other.looks
    assert score(pool, tmp_path, "AABB,AABB,3") and not humans.typed(tmp_path / humans.TYPED, [other])


@pytest.mark.parametrize(
    "content", ["captcha,text\n{}/0,AABB\n", "captcha,text,typed,seconds\n{}/0,AABB,AABB,soon\n", "\xff\n"]
)
def test_a_damaged_file_of_answers_is_refused(pool, tmp_path, content):
    (tmp_path / humans.TYPED).write_bytes(content.format(pool.looks).encode("latin-1"))
    with pytest.raises(UserError, match=r"human\.csv: is not a CSV file with the columns captcha,text,typed,seconds"):
        humans.typed(tmp_path / humans.TYPED, [pool])


def test_measured_typing_counts_instead_of_the_round_figure():
    assert meaning.seconds_per_label([USUAL]) == meaning.SECONDS_PER_LABEL
    timed = strength([0.5] * 7, human=Human(50, 48, 200.0))
    assert meaning.seconds_per_label([timed]) == 4


def test_everything_is_json_without_infinity():
    found = [UNREADABLE, TRIVIAL, USUAL]
    text = json.dumps(summary(found, measured([0.5] * 7)), allow_nan=False)
    assert json.loads(text)["settings"][0]["curves"][0]["answers"][0]["labels"] is None


# Settings


def test_several_varied_settings_make_a_grid():
    found = grid(Config(), [["noise_dots", "0", "30"], ["character_rotate", "0 0", "-30 30"]])
    assert [(each.config.noise_dots, each.config.character_rotate) for each in found] == [
        (0, (0, 0)), (0, (-30, 30)), (30, (0, 0)), (30, (-30, 30)),
    ]  # fmt: skip
    assert found[1].name == "noise_dots 0, character_rotate -30 30"


def test_a_value_that_is_written_in_two_ways_is_one_setting():
    assert [each.name for each in grid(Config(), [["noise_dots", "30", "030"]])] == ["noise_dots 30"]


@pytest.mark.parametrize(
    "words", [["colour", "1"], ["seed", "1"], ["noise_dots"], ["noise_dots", "many"], ["length", "0"]]
)
def test_a_setting_that_cannot_be_varied_so_is_refused(words):
    with pytest.raises(UserError, match=words[0]):
        grid(Config(), [words])


def test_small_sizes_are_measured_first_with_all_seeds(tmp_path):
    pool = drawn_pool(settings.Setting("", Config()), 100, tmp_path)
    planned = cells.plan([pool], (30, 100), ("nothing",), (1, 2), ())
    assert [(cell.labels, cell.seed) for cell in planned] == [(30, 1), (30, 2), (100, 1), (100, 2)]


def test_captchas_that_differ_have_other_keys(tmp_path):
    base = settings.Setting("", Config())
    pools = [drawn_pool(base, 100, tmp_path), drawn_pool(base, 200, tmp_path)]
    pools += [drawn_pool(settings.Setting("", replace(Config(), noise_dots=7)), 100, tmp_path)]
    planned = cells.plan(pools, (30, 60), ("nothing",), (1, 2), ())
    assert len({cell.key for cell in planned}) == len(planned) == 12


def test_captchas_of_an_edited_drawer_are_other_captchas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "edited_drawer.py"
    digests = set()
    for code in ("def draw(text, config, rng): ...", "def draw(text, config, rng): return None"):
        module.write_text(code)
        digests.add(drawn_pool(settings.Setting("", Config(drawer="edited_drawer:draw")), 100, tmp_path).digest)
    assert len(digests) == 2


def test_a_start_that_was_trained_again_is_measured_again(tmp_path):
    pool, start = drawn_pool(settings.Setting("", Config()), 100, tmp_path), tmp_path / "save"
    shutil.copytree(WEIGHTS / "digits", start)
    (before,) = cells.plan([pool], (30,), (str(start),), (1,), ())
    metadata = checkpoint_files.newest(start, BEST)
    about = {name: metadata[name] for name in ("config", "drawn_with", "best", "data", "cycle_start")}
    other = captcha_model.build(Config.from_dict(metadata["config"]), channels=3)
    checkpoint_files.write(start, BEST, metadata["step"] + 1, other, (), about)
    (after,) = cells.plan([pool], (30,), (str(start),), (1,), ())
    assert before.config == after.config and before.key != after.key


def test_each_size_is_trained_by_its_own_recipe(tmp_path):
    pool = drawn_pool(settings.Setting("", Config()), 30_000, tmp_path)
    few, many = cells.plan([pool], (30, 10_000), ("nothing",), (1,), ())
    assert few.config.max_steps < many.config.max_steps and few.config.rotate > many.config.rotate


# Files


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path):
    path, (first, second) = tmp_path / "cells.jsonl", measured([0.1, 0.2], sizes=(30, 100))
    first, second = replace(first, key="a"), replace(second, key="b")
    cells.append(path, first)
    whole = path.read_bytes()
    cells.append(path, second)
    path.write_bytes(path.read_bytes()[:-20])
    assert cells.read(path) == {"a": first}
    cells.drop_cut_line(path)
    assert path.read_bytes() == whole
    cells.append(path, second)
    assert cells.read(path) == {"a": first, "b": second}


def test_a_damaged_line_is_refused_in_one_line(tmp_path):
    path = tmp_path / "cells.jsonl"
    path.write_text('{"key": 1}\n')
    with pytest.raises(UserError, match="line 1 is damaged"):
        cells.read(path)


NO_PEOPLE = [
    "[]", "{", '{"a": 1}', '{"a": {"shown": 5}}', '{"a": {"shown": 5, "correct": 6}}', "\udcff",
    '{"a": {"shown": 0, "correct": 0}}', '{"b": {"shown": 5, "correct": 5}}',
    '{"a": {"shown": 5, "correct": 5, "seconds": -1}}', '{"a": {"shown": 5, "correct": 5, "seconds": 1e999}}',
    f'{{"a": {{"shown": {10**400}, "correct": 5}}}}',
    '{"a": {"shown": 5, "correct": 5, "characters": 20, "correct_characters": 21}}',
]  # fmt: skip


@pytest.mark.parametrize("text", NO_PEOPLE)
def test_an_invalid_file_of_human_results_is_refused(tmp_path, text):
    path = tmp_path / "human.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match=r"human\.json"):
        humans.read(path, ["a"])
