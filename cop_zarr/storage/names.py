"""Names and limits shared by all folders."""

PARTIAL_SUFFIX = ".partial"
"""Ending of the name of a folder or file that is not complete yet."""

WORK = "ingest/"
"""Prefix of the keys that an unfinished ingest needs for itself."""

LOCK = f"{WORK}lock"
"""The object that marks a folder as being written to, on an object store."""

LOCK_SUFFIX = ".lock"
"""Ending of the file beside ``NAME.partial`` that marks it as being written to, on a disk."""

JOB = f"{WORK}job.json"
"""The object that describes an unfinished ingest."""

STAGED = "store"
"""The folder in ``NAME.partial`` in which a store on a disk is written."""

STAGED_GROUP = "group"
"""The folder there in which a group is written that is added to a store on a disk."""

REPLACED = "replaced"
"""The folder there for an old store, between two renames, where the system cannot exchange names."""

SMALL_BYTES = 4 << 20
"""Most that is read of an object unless more is expected of it."""
