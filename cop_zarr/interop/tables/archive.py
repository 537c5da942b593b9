"""Find the file of features in a ZIP file, which GDAL reads where it is, without extracting it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from cop_zarr.errors import InputError, SourceError

ENCRYPTED = 1
"""The bit of a member's flags that says so."""


@dataclass(frozen=True)
class FeatureFile:
    """A file that GDAL can read, or a folder that is a File Geodatabase."""

    gdal_name: str
    size_bytes: int
    """When it is decompressed."""
    open: Callable[[], IO[bytes]]

    @property
    def ending(self) -> str:
        """Of its name, in lower case."""
        return PurePosixPath(self.gdal_name).suffix.lower()


def find_member(
    path: Path, endings: Sequence[str], requested: str | None
) -> tuple[FeatureFile, str | None]:
    """The only member with one of these endings, or the one requested; and the layer that is requested."""
    infos = _infos(path)
    sizes: dict[PurePosixPath, int] = {}
    for info in infos:
        member = _member(PurePosixPath(info.filename), endings)
        if member is None:
            continue
        if member.is_absolute() or ".." in member.parts:
            raise SourceError(f"{path} holds {info.filename!r}, which is outside of it; make it again")
        if info.flag_bits & ENCRYPTED:
            raise SourceError(f"{path} is encrypted; unzip it, and name the file in it")
        sizes[member] = sizes.get(member, 0) + info.file_size
    if not sizes:
        found = ", ".join(info.filename for info in infos[:5]) or "nothing"
        raise SourceError(
            f"{path} holds none of {', '.join(endings)}, but {found}; unzip it, and name the table in it"
        )
    wanted = [each for each in sizes if requested in {str(each), each.name, each.stem}]
    if len(sizes) > 1 and len(wanted) != 1:
        raise InputError(f"{path} holds several files, {', '.join(map(str, sizes))}; choose with layer=")
    _check_content(path)
    chosen, layer = (wanted[0], None) if len(sizes) > 1 else (next(iter(sizes)), requested)
    gdal_name = f"/vsizip/{{{path}}}/{chosen}"
    return FeatureFile(gdal_name, sizes[chosen], lambda: zipfile.ZipFile(path).open(str(chosen))), layer


def _member(name: PurePosixPath, endings: Sequence[str]) -> PurePosixPath | None:
    """The file or folder of features that a name is, or is in; None for others, and for macOS's copies."""
    if name.parts[:1] == ("__MACOSX",) or name.name.startswith("._"):
        return None
    inside = [folder for folder in name.parents if folder.suffix.lower() == ".gdb"]
    member = inside[-1] if inside else name
    return member if member.suffix.lower() in endings else None


def decompressed_bytes(path: Path) -> int:
    """The size of all members of a ZIP file together."""
    return sum(info.file_size for info in _infos(path))


def _check_content(path: Path) -> None:
    """Check each member's CRC-32, which GDAL does not."""
    with zipfile.ZipFile(path) as archive:
        try:
            damaged = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, OSError, EOFError) as error:
            raise SourceError(f"cannot unzip {path}: {error}") from error
    if damaged is not None:
        raise SourceError(f"{path} is damaged, at {damaged}; copy it again")


def _infos(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
        raise SourceError(f"{path} is not a readable ZIP file: {error}") from error
