"""Files are paired by stem, whatever their order, folders, scripts and suffixes."""

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kd_lightning.data.pairing import list_images, pair, split_stems
from kd_lightning.errors import UserError

NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=12)
STEMS = st.lists(
    st.tuples(st.sampled_from(["", "city/", "día/夜/"]), NAMES).map("".join),
    unique_by=lambda stem: unicodedata.normalize("NFC", stem).casefold(),
    min_size=1,
    max_size=8,
).filter(lambda stems: not any(stem.endswith(("x2", "X2")) for stem in stems))


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@settings(deadline=None, max_examples=50)
@given(stems=STEMS, data=st.data())
def test_every_image_finds_its_own_partner(stems: list[str], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as root:
        hr = touch(Path(root, "HR"), *(f"{stem}.png" for stem in stems))
        endings = [data.draw(st.sampled_from([".png", "x2.png", ".JPG", "x2.tiff"])) for _ in stems]
        form = data.draw(st.sampled_from(["NFC", "NFD"]))
        names = [unicodedata.normalize(form, s) + e for s, e in zip(stems, endings, strict=True)]
        other = touch(Path(root, "LR"), *data.draw(st.permutations(names)))
        pairs = pair(list_images(hr), other, 2, "LR image")
        assert list(pairs) == sorted(unicodedata.normalize("NFC", stem) for stem in stems)
        expected = {
            unicodedata.normalize("NFC", s): other / n for s, n in zip(stems, names, strict=True)
        }
        assert pairs == expected


def test_a_stem_that_itself_ends_like_a_scale_is_not_cut(tmp_path: Path) -> None:
    hr = touch(tmp_path / "HR", "grid0x2.png", "grid0.png")
    other = touch(tmp_path / "LR", "grid0x2.png", "grid0.png")
    assert pair(list_images(hr), other, 2, "LR image")["grid0x2"].name == "grid0x2.png"


def test_an_output_without_an_hr_image_is_named(tmp_path: Path) -> None:
    hr = touch(tmp_path / "HR", "a.png")
    other = touch(tmp_path / "T", "a.png", "b.png")
    with pytest.raises(UserError, match=r"b\.png: teacher output without an HR image"):
        pair(list_images(hr), other, 2, "teacher output")


def test_an_hr_image_without_an_output_is_named(tmp_path: Path) -> None:
    hr = touch(tmp_path / "HR", "a.png", "b.png", "c.png")
    other = touch(tmp_path / "T", "a.png")
    with pytest.raises(UserError, match=r"b\.png: no teacher output .*\(and 1 more\)"):
        pair(list_images(hr), other, 2, "teacher output")


def test_two_files_of_one_stem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.(png|jpg) and .*share one stem"):
        list_images(touch(tmp_path / "HR", "a.png", "a.jpg"))


def test_two_partners_of_one_image_are_refused(tmp_path: Path) -> None:
    hr = touch(tmp_path / "HR", "a.png")
    with pytest.raises(UserError, match="both belong to 'a'"):
        pair(list_images(hr), touch(tmp_path / "LR", "a.png", "ax2.png"), 2, "LR image")


@pytest.mark.parametrize("content", [[], ["notes.txt"], [".hidden.png", ".cache/a.png"]])
def test_an_empty_folder_is_named(tmp_path: Path, content: list[str]) -> None:
    folder = touch(tmp_path / "HR", *content)
    folder.mkdir(exist_ok=True)
    with pytest.raises(UserError, match="HR: no image in this folder"):
        list_images(folder)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none: no such folder; set data\.root"):
        list_images(tmp_path / "none")


@given(
    old=st.lists(NAMES, min_size=40, max_size=60, unique=True),
    new=st.lists(NAMES, max_size=60, unique=True),
)
def test_a_split_does_not_move_when_files_are_added(old: list[str], new: list[str]) -> None:
    train, validation = split_stems(old, 0.5)
    more_train, more_validation = split_stems(dict.fromkeys(old + new), 0.5)
    assert set(train) <= set(more_train) and set(validation) <= set(more_validation)


@given(stems=st.lists(NAMES, min_size=2, max_size=30, unique=True), share=st.floats(0.01, 0.5))
def test_a_split_is_complete_and_never_without_validation(stems: list[str], share: float) -> None:
    train, validation = split_stems(stems, share)
    assert sorted(train + validation) == sorted(stems)
    assert validation


def test_a_split_has_about_the_share_asked_for() -> None:
    _, validation = split_stems([f"{n:05}" for n in range(5000)], 0.1)
    assert len(validation) / 5000 == pytest.approx(0.1, abs=0.015)


def test_linked_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "b.png")
    hr = touch(tmp_path / "HR", "a.png")
    (hr / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(hr)
    assert list(list_images(hr)) == ["a", "linked/b"]


def test_a_name_that_is_not_utf8_is_refused_in_one_printable_line(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/latin1_\xe9.png"
    open(odd, "wb").close()
    try:
        with pytest.raises(UserError, match=r"latin1_\\xe9\.png.*not UTF-8; rename") as error:
            list_images(tmp_path)
    finally:
        os.remove(odd)
    str(error.value).encode()
