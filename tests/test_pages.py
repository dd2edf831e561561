"""The pages, as a person uses them: a real server, a real browser, the keyboard alone; and what they refuse."""

import contextlib
import csv
import json
import os
import socket
import struct
import threading
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from urllib.parse import quote

from captcha_config import Config
from captcha_pages import checking, reading
from captcha_pages.pictures import Pictures
from captcha_pages.tables import Table
from captcha_predict import MODELS, Reader, UserError
from captcha_predict.images import images_in
from captcha_runs.trained import Trained
from captcha_runs.transfer import WEIGHTS
from captcha_sets.draw import draw

import pytest
from conftest import SCREENSHOTS, SMALL, browser_only, errors, opened, run, start, wait_for

PICTURES = 60
CORRECTED = range(0, PICTURES, 6)  # of the pictures that the test labels, in the order in which they come
MEANWHILE = "Another tab has labelled this picture '2222' in the meantime. Press Enter again to save the label."
NAMED = '<img src=x onerror="document.title=`owned`">.png'  # a file's name that is markup


def draw_pictures(folder: Path, count: int, named: str = "p{0:03}.png") -> dict[str, str]:
    """Captchas in a folder; returns file → text."""
    folder.mkdir(exist_ok=True)
    texts = {}
    for index in range(count):
        text, image = draw(index, "own", Config())
        file = named.format(index, text)
        image.save(folder / file)
        texts[file] = text
    return texts


@contextlib.contextmanager
def serving(script: str, *args: object, cwd: Path, port: int = 0):
    """A running server: (its address, its process)."""
    process = start(script, *args, "--port", port, cwd=cwd)
    try:
        address = wait_for(process, "open http").split()[1]
        yield address.rstrip("/"), process
    finally:
        process.kill()
        process.wait()


def request(address: str, content: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """(status, body) of a plain HTTP client's request; with content, a POST."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, content, headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def post(address: str, **values: object) -> tuple[int, dict]:
    status, answer = request(address, json.dumps(values).encode())
    return status, json.loads(answer)


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def shown(page, other_than: str = "") -> str:
    """The file that a page shows, once it is another one than before."""
    page.wait_for_function("other => file.textContent && file.textContent !== other", arg=other_than)
    page.wait_for_function("() => document.activeElement.id === 'text'")
    return page.inner_text("#file")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


# Labelling


def type_label(page, file: str, text: str) -> str:
    """Type a label and confirm it, twice where the page asks; returns the next file, or nothing at the end."""
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    moved = "other => message.textContent || !done.hidden || file.textContent !== other"
    page.wait_for_function(moved, arg=file)
    if page.inner_text("#message"):
        page.keyboard.press("Enter")
        page.wait_for_function("other => !done.hidden || file.textContent !== other", arg=file)
    return "" if page.is_visible("#done") else page.inner_text("#file")


def label_pictures(page, count: int, texts: dict[str, str], labelled: dict[str, str]) -> None:
    """Label pictures by keyboard: some wrongly, which is corrected at once by going back."""
    file = shown(page)
    for _ in range(count):
        if len(labelled) in CORRECTED:
            wrong = "".join(reversed(texts[file])) if texts[file] != texts[file][::-1] else "0000"
            following = type_label(page, file, wrong)
            page.keyboard.press("ArrowUp")
            assert shown(page, following) == file
            assert page.input_value("#text") == wrong
        labelled[file] = texts[file]
        file = type_label(page, file, texts[file])


@browser_only
@pytest.mark.slow
def test_what_was_confirmed_by_keyboard_survives_a_kill_and_is_imported(browser, tmp_path):
    texts = draw_pictures(tmp_path / "mine", PICTURES)
    labels, labelled, port = tmp_path / "mine" / "labels.csv", {}, free_port()
    with serving("captcha_label.py", "mine", cwd=tmp_path, port=port) as (address, process):
        page, complaints = opened(browser, address)
        label_pictures(page, PICTURES // 2, texts, labelled)
        process.kill()
        process.wait()
    assert rows(labels) == [["file", "label"], *([file, text] for file, text in labelled.items())]
    assert complaints == []
    with serving("captcha_label.py", "mine", cwd=tmp_path, port=port) as (address, _):
        page, complaints = opened(browser, address)
        label_pictures(page, PICTURES - len(labelled), texts, labelled)
        page.wait_for_selector("#done:visible")
        assert complaints == []
    assert dict(rows(labels)[1:]) == texts
    assert len(rows(labels)) == 1 + PICTURES
    done = run("captcha_producer.py", "--source", "mine/labels.csv", "--no-images", cwd=tmp_path)
    assert (done.returncode, errors(done.stderr)) == (0, [])
    assert f"{PICTURES} images with 4 of 10 characters" in done.stdout
    done = run("captcha_train.py", "--init_from", "digits", "--max_steps", 5, "--batch_size", 16, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("captcha_predict", "mine/p000.png", "--model", "save", cwd=tmp_path)
    assert done.stdout.startswith("mine/p000.png  ")


@browser_only
def test_pictures_are_skipped_marked_unreadable_and_gone_back_to_by_one_key(browser, tmp_path):
    texts = draw_pictures(tmp_path / "mine", 4)
    with serving("captcha_label.py", "mine", cwd=tmp_path) as (address, _):
        page, complaints = opened(browser, address)
        first = shown(page)
        page.keyboard.press("ArrowDown")
        second = shown(page, first)
        page.keyboard.press("Escape")
        third = shown(page, second)
        page.keyboard.press("ArrowUp")
        assert shown(page, third) == second
        assert page.inner_text("#state") == "marked unreadable"
        page.keyboard.press("Enter")  # the network's prediction is typed in
        assert shown(page, second) == third
        page.keyboard.press("Escape")
        fourth = shown(page, third)
        page.keyboard.press("Enter")
        assert shown(page, fourth) == first  # what was skipped comes last
        assert complaints == []
    assert rows(tmp_path / "mine" / "unreadable.csv") == [["file"], [third]]
    assert dict(rows(tmp_path / "mine" / "labels.csv")[1:]) == {file: texts[file] for file in (second, fourth)}


def test_skipped_pictures_come_again_in_the_order_in_which_they_were_skipped(tmp_path):
    draw_pictures(tmp_path / "mine", 3)
    with serving("captcha_label.py", "mine", cwd=tmp_path) as (address, _):
        files = [post(f"{address}/open", tab="t", file="")[1]["file"]]
        for _ in range(6):
            files.append(post(f"{address}/skip", tab="t", file=files[-1])[1]["file"])
    assert len(set(files[:3])) == 3
    assert files[:3] == files[3:6]


@browser_only
def test_two_tabs_show_different_pictures_and_never_overwrite_each_other_unasked(browser, tmp_path):
    draw_pictures(tmp_path / "mine", 3)
    with serving("captcha_label.py", "mine", cwd=tmp_path) as (address, _):
        (one, _), (other, complaints) = opened(browser, address), opened(browser, address)
        file = shown(one)
        assert shown(other) != file
        type_label(other, shown(other), "1111")
        post(f"{address}/label", tab="a third", file=file, text="2222", seen="", sure="")
        one.keyboard.type("3333")
        one.keyboard.press("Enter")
        one.wait_for_function("() => message.textContent")
        assert one.inner_text("#message") == MEANWHILE
        status, answer = post(f"{address}/unreadable", tab="a fourth", file=file, seen="")
        assert status == 400 and "another tab has labelled this picture '2222'" in answer["error"]
        assert dict(rows(tmp_path / "mine" / "labels.csv")[1:])[file] == "2222"
        one.keyboard.press("Enter")
        shown(one, file)
        assert complaints == []
    assert dict(rows(tmp_path / "mine" / "labels.csv")[1:])[file] == "3333"


@browser_only
@pytest.mark.parametrize("width", [390, 1000])
def test_names_that_are_markup_are_text_and_nothing_sticks_out(browser, tmp_path, width):
    draw_pictures(tmp_path / "mine", 1, named=NAMED.replace("{", "{{"))
    (tmp_path / "mine" / f"{'long' * 40}.png").write_text("<script>document.title = 'owned'</script>")
    with serving("captcha_label.py", "mine", cwd=tmp_path) as (address, _):
        page, complaints = opened(browser, address, viewport={"width": width, "height": 844})
        assert shown(page) == NAMED
        page.keyboard.press("ArrowDown")
        page.wait_for_selector("#left-out:visible")
        page.click("#left-out summary")
        assert "is not a PNG, JPEG, GIF, WebP or BMP file" in page.inner_text("#left-out li")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.wait_for_function("() => picture.naturalWidth > 0")
        page.screenshot(path=SCREENSHOTS / f"label-{width}.png", full_page=True)
        assert page.title() == "Label pictures"
        assert complaints == []


@pytest.fixture(scope="module")
def labelling(tmp_path_factory):
    """(address, folder) of a labelling server, with pictures that cannot be labelled among the others."""
    folder = tmp_path_factory.mktemp("hostile")
    draw_pictures(folder / "mine", 30)
    (folder / "secret.png").write_bytes((folder / "mine" / "p000.png").read_bytes())
    (folder / "mine" / "huge.png").write_bytes(huge_png(22_000))
    (folder / "mine" / "none.png").write_text("no picture")
    (folder / "mine" / "again.png").write_bytes((folder / "mine" / "p001.png").read_bytes())
    os.mkfifo(folder / "mine" / "pipe.png")
    with serving("captcha_label.py", "mine", cwd=folder) as (address, _):
        yield address, folder


def huge_png(side: int) -> bytes:
    """A small file of side x side white pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + b"\xff" * (side // 8 + 1)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * side)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("huge.png", "has far more than 16000000 pixels; shrink it"),
        ("none.png", "is not a PNG, JPEG, GIF, WebP or BMP file"),
        ("../secret.png", "is not a picture of mine"),
        ("/etc/passwd", "is not a picture of mine"),
        ("labels.csv", "is not a picture of mine"),
        ("pipe.png", "is not a picture of mine"),
        ("", "is not a picture of mine"),
    ],
)
def test_a_file_that_is_no_picture_of_the_folder_is_neither_shown_nor_labelled(labelling, file, why):
    address, folder = labelling
    status, answer = request(f"{address}/picture?file={quote(file, safe='')}")
    assert status == 400 and why in json.loads(answer)["error"]
    status, answer = post(f"{address}/label", tab="t", file=file, text="1234", seen="", sure="")
    assert status == 400 and why in answer["error"]
    assert not (folder / "labels.csv").exists()
    labels = folder / "mine" / "labels.csv"
    assert not labels.exists() or file not in dict(rows(labels))


def test_the_second_of_two_equal_images_is_left_out_as_the_import_would(labelling):
    address, _ = labelling
    answers = [request(f"{address}/picture?file={file}") for file in ("p001.png", "again.png")]
    (refusal,) = [json.loads(content)["error"] for status, content in answers if status == 400]
    assert "shows the same image as" in refusal
    assert refusal in post(f"{address}/open", tab="same", file="p002.png")[1]["problems"]


def test_a_picture_is_shown_while_others_are_predicted_in_the_background(tmp_path):
    draw_pictures(tmp_path, 3)
    main_thread = threading.current_thread()
    reading = threading.Event()
    ended = threading.Event()
    timed_out = threading.Event()

    class SlowInBackground(Reader):
        def read(self, image):
            if threading.current_thread() is not main_thread:
                reading.set()
                ended.wait(60) or timed_out.set()
            return super().read(image)

    pictures = Pictures(
        tmp_path, [path.name for path in images_in(tmp_path)], SlowInBackground(MODELS / "digits.tflite")
    )
    pictures.examine_in_background()
    try:
        assert reading.wait(60)
        assert pictures.next(lambda file: True) and not timed_out.is_set()
    finally:
        ended.set()


def test_requests_for_other_files_are_not_found(labelling):
    address, _ = labelling
    host, port = address.removeprefix("http://").split(":")
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd", "/../captcha_label.py"):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            assert connection.makefile("rb").read().startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    ("content", "status", "why"),
    [
        (b"no JSON", 400, "send a JSON object"),
        (b"[" * 10_000, 400, "send a JSON object"),
        (b"[]", 400, "exactly these names: tab, file, text, seen, sure"),
        (b'{"tab": "t"}', 400, "exactly these names"),
        (b'{"tab": 1, "file": "p000.png", "text": "1", "seen": "", "sure": ""}', 400, "'tab' is not of type str"),
        (b'{"tab": "t", "file": "p000.png", "text": "1", "seen": "", "sure": 1}', 400, "'sure' is not of type str"),
        (
            b'{"tab": "t", "file": "p000.png", "text": "\\ud800", "seen": "", "sure": ""}',
            400,
            "'text' is not of type str",
        ),
        (b'{"tab": "t", "file": "p000.png", "text": "1 2", "seen": "", "sure": ""}', 400, "cannot be seen"),
        (b'{"tab": "t", "file": "p000.png", "text": " ", "seen": "", "sure": ""}', 400, "has 0 characters"),
        (b"x" * 30_000, 413, "more than 20000 bytes"),
    ],
)
def test_a_post_of_the_wrong_shape_is_refused_in_words(labelling, content, status, why):
    address, _ = labelling
    found, answer = request(f"{address}/label", content)
    assert (found, why in json.loads(answer)["error"]) == (status, True), answer


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://a.com"}, {"Origin": "null"}, {"Origin": "http://[b"}, {"Host": "a.com"}, {"Host": "[b"}],
)
def test_another_site_in_the_same_browser_can_neither_label_nor_look(labelling, headers):
    address, folder = labelling
    body = {"tab": "t", "file": "p003.png", "text": "1234", "seen": "", "sure": ""}
    status, answer = request(f"{address}/label", json.dumps(body).encode(), **headers)
    assert status == 403 and json.loads(answer)["error"]
    assert request(f"{address}/", **headers)[0] == 403
    labels = folder / "mine" / "labels.csv"
    assert not labels.exists() or "p003.png" not in dict(rows(labels))


def test_new_characters_and_odd_lengths_are_asked_about(labelling):
    address, folder = labelling
    about = {"tab": "asks", "file": "p004.png", "seen": ""}
    assert "No label so far contains 'x'." in post(f"{address}/label", **about, text="12x4", sure="")[1]["question"]
    assert "5 characters are rare" in post(f"{address}/label", **about, text="12345", sure="")[1]["question"]
    assert "question" not in post(f"{address}/label", **about, text="1234", sure="")[1]
    assert dict(rows(folder / "mine" / "labels.csv"))["p004.png"] == "1234"


def test_a_second_server_for_the_folder_is_refused_in_one_line(labelling):
    _, folder = labelling
    done = run("captcha_label.py", "mine", "--port", 0, cwd=folder)
    assert done.returncode == 2
    assert errors(done.stderr) == [
        "captcha_label.py: error: mine: another process is labelling it; use its page, or stop it"
    ]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["nowhere"], "nowhere: is not a folder"),
        ([".", "--port", "99999"], "--port 99999 is out of range"),
        ([".", "--host", "203.0.113.1"], "203.0.113.1:8765: cannot be used"),
        ([".", "--suspects", "p000.png"], "p000.png: is not what captcha_suspects.py --json writes"),
    ],
)
def test_what_it_cannot_serve_is_one_line(tmp_path, args, why):
    draw_pictures(tmp_path, 1)
    done = run("captcha_label.py", *args, cwd=tmp_path)
    (line,) = errors(done.stderr)
    assert done.returncode == 2 and why in line


# The CSV file


def test_suspects_of_another_folder_are_refused_and_no_labels_are_written(tmp_path):
    draw_pictures(tmp_path, 1)
    (tmp_path / "suspects.json").write_text(json.dumps({"labels": {"mine/p000.png": "1234"}, "suspects": []}))
    done = run("captcha_label.py", ".", "--suspects", "suspects.json", cwd=tmp_path)
    assert done.returncode == 2
    assert errors(done.stderr) == [
        "captcha_label.py: error: .: has none of the images in suspects.json; name the folder that they are in"
    ]
    assert not (tmp_path / "labels.csv").exists()


def test_a_changed_row_replaces_the_earlier_one(tmp_path):
    table = Table(tmp_path / "labels.csv", ("file", "label"))
    table.put("a.png", "1")
    table.put('b,"c".png', "2")
    table.put("d.png", "3")
    table.put("a.png", "4")
    table.remove("d.png")
    expected = {"a.png": ("4",), 'b,"c".png': ("2",)}
    assert Table(tmp_path / "labels.csv", ("file", "label")).rows == table.rows == expected


def test_a_last_line_without_a_line_break_is_a_row_like_the_others(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,label\na.png,12\nb.png,34", encoding="utf-8")
    table = Table(path, ("file", "label"))
    table.put("c.png", "56")
    assert rows(path) == [["file", "label"], ["a.png", "12"], ["b.png", "34"], ["c.png", "56"]]


def test_a_label_that_the_disk_does_not_take_leaves_no_trace(tmp_path, monkeypatch):
    table = Table(tmp_path / "labels.csv", ("file", "label"))
    table.put("a.png", "1")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(os, "fsync", full)
        table.put("b.png", "2")
    table.put("c.png", "3")
    assert rows(tmp_path / "labels.csv") == [["file", "label"], ["a.png", "1"], ["c.png", "3"]]
    assert table.rows.keys() == {"a.png", "c.png"}


def test_what_a_person_edits_in_the_file_meanwhile_is_kept(tmp_path):
    path = tmp_path / "labels.csv"
    table = Table(path, ("file", "label"))
    table.put("a.png", "1")
    path.write_text("file,label\na.png,7\nb.png,8", encoding="utf-8")  # an editor that ends no line
    table.put("c.png", "3")
    table.put("c.png", "4")
    assert rows(path) == [["file", "label"], ["a.png", "7"], ["b.png", "8"], ["c.png", "4"]]


def test_a_file_that_a_person_damages_meanwhile_is_refused_and_untouched_until_it_is_corrected(tmp_path):
    path = tmp_path / "labels.csv"
    table = Table(path, ("file", "label"))
    table.put("a.png", "1")
    table.put("b.png", "2")
    damaged = "file,label\na.png\nb.png,2\n"
    path.write_text(damaged, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(UserError, match="line 2"):
            table.put("b.png", "3")
    assert path.read_text(encoding="utf-8") == damaged


def test_a_first_line_without_a_line_break_is_completed(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("file,label", encoding="utf-8")
    Table(path, ("file", "label")).put("a.png", "1")
    assert rows(path) == [["file", "label"], ["a.png", "1"]]


@pytest.mark.parametrize(
    "content", ["file,label,who\na,1,me\n", "a,b\n", "file,label\na\n", "file,label\na,1\na,2\n", '"']
)
def test_a_file_that_is_somebody_elses_is_refused_and_untouched(tmp_path, content):
    path = tmp_path / "labels.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"labels\.csv"):
        Table(path, ("file", "label"))
    assert path.read_text(encoding="utf-8") == content


# Suspected labels


@browser_only
def test_suspected_labels_are_kept_or_corrected_in_labels_csv_and_no_file_is_renamed(browser, tmp_path):
    texts = draw_pictures(tmp_path / "mine", 4, named="{0:03}_{1}.png")
    files = sorted(texts)
    labels = {**texts, files[0]: "0000", files[1]: "1111"}
    listed = [{"file": file, "label": labels[file], "prediction": texts[file], "times": "90"} for file in files[:3]]
    (tmp_path / "suspects.json").write_text(json.dumps({"labels": labels, "suspects": listed}))
    with serving("captcha_label.py", "mine", "--suspects", "suspects.json", cwd=tmp_path) as (address, _):
        page, complaints = opened(browser, address, viewport={"width": 390, "height": 844})
        assert shown(page) == files[0]
        assert (page.inner_text("#label"), page.inner_text("#prediction")) == ("0000", texts[files[0]])
        page.wait_for_function("() => picture.naturalWidth > 0")
        page.screenshot(path=SCREENSHOTS / "suspects-390.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.keyboard.press("Control+Enter")
        assert shown(page, files[0]) == files[1]
        page.keyboard.press("Enter")
        assert shown(page, files[1]) == files[2]
        assert complaints == []
    with serving("captcha_label.py", "mine", "--suspects", "suspects.json", cwd=tmp_path) as (address, _):
        assert post(f"{address}/open", tab="t", file="")[1]["file"] == files[2]  # the others are checked
    assert dict(rows(tmp_path / "mine" / "labels.csv")[1:]) == {**texts, files[1]: "1111"}
    assert all((tmp_path / "mine" / file).exists() for file in files)


# The try-out page


@pytest.fixture(scope="module")
def trying(tmp_path_factory):
    with serving("captcha_try.py", cwd=tmp_path_factory.mktemp("try")) as (address, _):
        yield address


def test_one_post_of_an_image_gives_the_prediction_as_json(trying, tmp_path):
    (text,) = draw_pictures(tmp_path, 1).values()
    status, answer = request(f"{trying}/api/read", (tmp_path / "p000.png").read_bytes())
    read = json.loads(answer)
    assert (status, read["text"]) == (200, text)
    assert 0.9 < read["confidence"] <= 1
    assert [max(position, key=position.get) for position in read["positions"]] == list(text)
    assert all(sum(position.values()) == pytest.approx(1, abs=1e-4) for position in read["positions"])
    centres = [sum(i * weight for i, weight in enumerate(weights)) for weights in read["weights"]]
    assert len(centres) == 4 and centres == sorted(centres)  # it looks from left to right


@pytest.mark.parametrize(
    ("content", "status", "why"),
    [
        (b"no picture", 400, "is not a PNG"),
        (huge_png(22_000), 400, "far more than 16000000 pixels"),
        (b"\0" * 10_000_001, 413, "more than 10000000 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused_in_words(trying, content, status, why):
    found, answer = request(f"{trying}/api/read", content)
    assert (found, why in json.loads(answer)["error"]) == (status, True)


def test_the_page_names_the_network_and_its_captcha(trying):
    _, html = request(f"{trying}/")
    words = " ".join(html.decode().split())
    best = next((WEIGHTS / "digits").glob("best-*.json")).stem
    assert f"weights/digits/{best}: 4 of 10 characters, 128x64 pixels." in words


def test_a_drawing_out_of_range_is_refused_in_words(trying):
    values = {"number": 1, "noise_dots": 30, "noise_curves": 1, "rotation": 30, "font_size": 40, "length": 4}
    assert post(f"{trying}/api/draw", **values)[1]["text"].isdecimal()
    status, answer = post(f"{trying}/api/draw", **{**values, "length": 1000})
    assert (status, answer["error"]) == (400, "length: 1000 is out of range; it must be from 1 to 32")


def test_an_exported_model_reads_but_does_not_say_where_it_looked(tmp_path):
    draw_pictures(tmp_path, 1)
    with serving("captcha_try.py", "--model", MODELS / "digits.tflite", cwd=tmp_path) as (address, _):
        assert json.loads(request(f"{address}/api/read", (tmp_path / "p000.png").read_bytes())[1])["weights"] is None


@browser_only
@pytest.mark.parametrize("width", [390, 1000])
def test_the_page_draws_reads_and_shows_each_position(browser, trying, tmp_path, width):
    page, complaints = opened(browser, trying, viewport={"width": width, "height": 844})
    page.wait_for_selector("#positions canvas")
    assert page.locator("#positions canvas").count() == 4
    page.wait_for_function("() => certainty.textContent.includes('confidence')")
    page.focus("input[name=length]")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => certainty.textContent.includes('was drawn')")  # four of five characters
    page.keyboard.press("ArrowLeft")
    (text,) = draw_pictures(tmp_path, 1).values()
    page.set_input_files("#file", tmp_path / "p000.png")
    page.wait_for_function("text => result.textContent === text", arg=text)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=SCREENSHOTS / f"try-{width}.png", full_page=True)
    assert complaints == []


@pytest.mark.parametrize("file", ["", ".", "a/..", "..", "../a.png"])
def test_suspects_outside_of_the_folder_are_refused(file, tmp_path):
    path = tmp_path / "suspects.json"
    path.write_text(json.dumps({"labels": {file: "12"}, "suspects": []}))
    with pytest.raises(UserError, match="is not one of the labelled images; write it again"):
        checking.read_suspects(path)


def test_a_file_whose_name_begins_with_two_dots_is_in_the_folder(tmp_path):
    path = tmp_path / "suspects.json"
    path.write_text(json.dumps({"labels": {"..a.png": "12"}, "suspects": []}))
    assert checking.read_suspects(path)["labels"] == {"..a.png": "12"}


def test_where_the_fonts_of_the_training_are_missing_the_page_draws_as_the_config_says():
    drawn_with = {"source": None, "drawer": "captcha_sets.styles:draw", "fonts": ["/no/such/font.ttf"]}
    trained = Trained("model", SMALL, {}, drawn_with, lambda images: None, None)
    like = reading._drawn_like(trained, Config())
    assert (like.drawer, like.fonts, like.characters) == (Config.drawer, (), SMALL.characters)
