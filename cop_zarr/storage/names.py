"""Names and limits that all folders share."""

PARTIAL_SUFFIX = ".partial"
"""What the name of a folder or file ends in until it is whole."""

WORK = "ingest/"
"""What the keys of the objects begin with that an unfinished ingest keeps for itself."""

LOCK = f"{WORK}lock"
"""The object that marks a place as being written to."""

JOB = f"{WORK}job.json"
"""The object that says what an unfinished ingest makes."""

REPLACED = f"{WORK}replaced/"
"""Where an old store on a disk goes while the new one takes its place."""

SMALL_BYTES = 4 << 20
"""What is read of an object, at most, unless more is expected of it."""
