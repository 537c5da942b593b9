"""Disks and object stores, with one interface.

:func:`folder` opens a :class:`Folder` by a path or any fsspec URL: a :class:`LocalFolder`, which makes
system calls itself (reading an object of 140 KB takes a fraction of the time it takes through fsspec, and a
folder can be renamed), or a :class:`RemoteFolder`. Messages and metadata show :func:`redact`-ed URLs only.
"""

from cop_zarr.storage.disk_cache import CACHE_DISK_BYTES, DiskCache
from cop_zarr.storage.download import fetch, local_file
from cop_zarr.storage.files import check_absent, disk_errors, file_stamp, replacing, sha256_of
from cop_zarr.storage.filesystems import REQUESTS_AT_ONCE, StorageOptions
from cop_zarr.storage.folders import Folder, folder, read_if_there, repair_advice
from cop_zarr.storage.local import LocalFolder
from cop_zarr.storage.names import (
    JOB,
    LOCK,
    PARTIAL_SUFFIX,
    REPLACED,
    SMALL_BYTES,
    STAGED,
    STAGED_GROUP,
    WORK,
)
from cop_zarr.storage.places import place
from cop_zarr.storage.private_folder import NotPrivateError, PrivateFolder
from cop_zarr.storage.remote import RemoteFolder
from cop_zarr.storage.retries import TIMEOUT_SECONDS
from cop_zarr.storage.urls import expanded, local_path, redact
