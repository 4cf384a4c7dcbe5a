"""What a folder holds is listed once, and what is left out is counted."""

import os
from collections import Counter
from pathlib import Path

from kd_lightning.imageio.folders import describe, list_folder, walk


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_what_is_no_image_is_counted_by_kind(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpg", "._a.jpg", ".hidden.png", "c.heic", "d.HEIC", "e", "f/g.png")
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    images, left_out = list_folder(tmp_path)
    assert [path.name for path in images] == ["a.jpg", "b.PNG"]
    assert left_out == Counter(
        {".heic": 2, "._*": 1, "hidden": 1, "without suffix": 1, "folder": 2, "not a file": 1}
    )
    assert describe(left_out).startswith("8 entries left out (1 ._*, 2 .heic, ")
    assert describe(Counter()) == ""


def test_a_link_counts_as_what_it_leads_to_and_a_broken_one_is_not_lost(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.png")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.png").symlink_to("../elsewhere/a.png")
    (folder / "broken.png").symlink_to("../elsewhere/none.png")
    images, _ = list_folder(folder)
    assert [path.name for path in images] == ["broken.png", "good.png"]


def test_links_to_folders_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "root/a.png", "root/x/b.png", "root/y/c.png", "other/d.png", "root/.git/e.png")
    root = tmp_path / "root"
    (root / "linked").symlink_to("../other")
    (root / "twice").symlink_to("../other")
    (root / "x" / "up").symlink_to("..")
    (root / "x" / "to_y").symlink_to("../y")
    (root / "y" / "to_x").symlink_to("../x")
    found = sorted(str(path.relative_to(root)) for images, _ in walk(root) for path in images)
    assert found == [
        "a.png",
        "linked/d.png",
        "twice/d.png",
        "x/b.png",
        "x/to_y/c.png",
        "y/c.png",
        "y/to_x/b.png",
    ]
