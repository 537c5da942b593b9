"""Files for others to read: none that a link leads out to, not even one that is changed meanwhile."""

import os

import pytest

from cop_zarr.errors import AccessError
from cop_zarr.storage import LocalFolder


@pytest.fixture
def root(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a/file").write_bytes(b"0123456789")
    return root


def test_reads_and_sizes(root):
    files = LocalFolder(root).own_files()
    assert files.size("a/file") == 10
    assert files.read("a/file") == b"0123456789"
    assert files.read("a/file", 3) == b"012"
    assert (files.read_range("a/file", 8, 5), files.read_range("a/file", 11, 5)) == (b"89", b"")
    for key in ["a", "b", "a/file/c", ""]:
        with pytest.raises(FileNotFoundError):
            files.read(key)


@pytest.mark.parametrize("target", ["../../secret", "/etc/hostname", "../../root2"])
def test_links_out(root, target):
    (root.parent / "root2").write_bytes(b"beside, and not inside")
    (root / "a/link").symlink_to(target)
    with pytest.raises(AccessError, match="link"):
        LocalFolder(root).own_files().read("a/link")


def test_links_inside_and_to_the_folder(root, tmp_path):
    (root / "a/link").symlink_to("file")
    (tmp_path / "other").symlink_to(root)
    assert LocalFolder(tmp_path / "other").own_files().read("a/link") == b"0123456789"


def test_a_link_that_is_exchanged_while_it_is_looked_at(root, monkeypatch):
    """Opened as a link out of the folder, and a file inside when the path is looked at."""
    (root / "a/link").symlink_to("../../secret")
    opened = os.open

    def exchange(path, flags):
        descriptor = opened(path, flags)
        (root / "a/link").unlink()
        (root / "a/link").write_bytes(b"harmless")
        return descriptor

    files = LocalFolder(root).own_files()
    monkeypatch.setattr(os, "open", exchange)
    with pytest.raises(AccessError):
        files.read("a/link")
