"""Folders, links, sockets and files in the place of a store's objects and folders: found, and mended."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import cop_zarr
from cop_zarr.errors import StorageError, StoreError
from tests.writing.small import CHUNK, COPY, ROOT, TABLE, VALID, check_values, objects

if TYPE_CHECKING:
    from collections.abc import Callable

DISPLACED = ".displaced"
OTHER = "other"
"""The second of two links to each other, which stays."""


def full_folder(place: Path) -> None:
    (place / "a").mkdir(parents=True)
    (place / "a/thesis.tex").write_text("mine")


def a_file(place: Path) -> None:
    place.write_text("mine")


def a_socket(place: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as bound:
        patch.chdir(place.parent)  # a socket's path may have 108 characters
        bound.bind(place.name)


def a_loop(place: Path) -> None:
    place.symlink_to(OTHER)
    place.with_name(OTHER).symlink_to(place.name)


FOR_A_FILE: dict[str, Callable[[Path], object]] = {
    "an empty folder": Path.mkdir,
    "a folder": full_folder,
    "a link to itself": lambda place: place.symlink_to(place.name),
    "two links to each other": a_loop,
    "a link to nothing": lambda place: place.symlink_to("/nowhere/a"),
    "a link to a folder": lambda place: place.symlink_to("/"),
    "a socket": a_socket,
    "a pipe": os.mkfifo,
}
FOR_A_FOLDER: dict[str, Callable[[Path], object]] = {
    "a file": a_file,
    "a link to itself": lambda place: place.symlink_to(place.name),
    "a link to nothing": lambda place: place.symlink_to(place.parents[6] / "new"),
    "a link to its parent": lambda place: place.symlink_to("."),
    "a socket": a_socket,
}

A_FEW = {
    (CHUNK, "a folder"),
    (CHUNK, "two links to each other"),
    (VALID, "a socket"),
    (ROOT, "a socket"),
} | {
    ("embedding/c/0/2", "a link to nothing"),
    ("latitude", "a link to its parent"),
    ("integrity", "a file"),
}
PLACES = [
    *((key, name, put) for key in (CHUNK, TABLE, VALID, COPY, ROOT) for name, put in FOR_A_FILE.items()),
    *(
        (key, name, put)
        for key in ("embedding/c/0/2", "embedding/c", "embedding", "integrity", "latitude", "valid/c")
        for name, put in FOR_A_FOLDER.items()
    ),
]


@pytest.mark.parametrize(
    ("key", "put"),
    [
        pytest.param(
            key, put, id=f"{name} for {key}", marks=[] if (key, name) in A_FEW else pytest.mark.slow
        )
        for key, name, put in PLACES
    ],
)
def test_what_is_in_the_place_of_an_object_is_found_and_the_object_written(
    small_store: Path, small_source: Path, tmp_path: Path, key: str, put: Callable[[Path], object]
) -> None:
    """No data is removed, files that were there are moved aside; nothing is written outside the store."""
    place = tmp_path / "a/b/c/d/e/f/g"
    copied = shutil.copytree(small_store, place / "copied.zarr")
    (copied / "embedding/c/0/3/3").write_bytes(b"damaged")
    shutil.rmtree(copied / key) if (copied / key).is_dir() else (copied / key).unlink()
    put(copied / key)
    if key == ROOT:
        with pytest.raises(StoreError, match="repair"):
            cop_zarr.verify(copied)
    else:
        found = {problem.key for problem in cop_zarr.verify(copied).problems}
        assert any(each.startswith(key) for each in found)
        assert "embedding/c/0/3/3" in found or TABLE in found or "embedding".startswith(key[:9])
    report = cop_zarr.repair(copied, small_source)
    there = {name: data for name, data in objects(copied).items() if not name.endswith(OTHER)}
    mine = {name: data for name, data in there.items() if DISPLACED in name}
    assert list(mine.values()) == ([b"mine"] if put in {full_folder, a_file} else [])
    assert {key for key in report.foreign if DISPLACED in key} == mine.keys()
    assert {name: data for name, data in there.items() if name not in mine} == objects(small_store)
    check_values(cop_zarr.open(copied))
    assert [path.name for path in place.iterdir()] == [copied.name]
    assert [path.name for path in tmp_path.rglob("new")] == []


@pytest.mark.parametrize("name", ["latitude", "integrity", "embedding/c/0/2"])
def test_no_folder_is_made_where_a_link_leads(
    copied: Path, small_source: Path, small_store: Path, tmp_path: Path, name: str
) -> None:
    """The advice of the message works."""
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(copied / name)
    (copied / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="link"):
        cop_zarr.repair(copied, small_source)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    (copied / name).unlink()
    assert cop_zarr.repair(copied, small_source).ok
    assert objects(copied) == objects(small_store)
