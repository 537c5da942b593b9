"""Messages name options of the command line, not arguments of Python."""

import pytest

from cop_zarr.cli import main
from cop_zarr.cli.wording import in_options


@pytest.mark.parametrize(
    ("command", "message", "expected"),
    [
        ("query", "use subpixel='touch', or weights=None", "use --subpixel touch, or --weights none"),
        ("batch", "replace it with overwrite=True", "replace it with --overwrite"),
        (
            "batch",
            "choose decimal=',' or decimal='.'",
            "choose --decimal , or --decimal .",
        ),
        ("batch", "use separator=' '", "use --separator ' '"),
        ("batch", "use on_error='nan'; client must answer", "use --on-error nan; client must answer"),
        ("ingest", "Allow as much (memory=), or", "Allow as much (--memory), or"),
        ("query", "more than max_bytes=1,024; ask", "more than --max-bytes 1,024; ask"),
        (
            "query",
            "cache_disk_bytes needs it without cache_dir",
            "--cache-disk-bytes needs it without --cache-dir",
        ),
        ("query", "cache_dir /x cannot be trusted", "--cache-dir /x cannot be trusted"),
        ("info", "with these storage_options: x", "with these --storage-options: x"),
        ("similar", "cells with data outside exclude_km", "cells with data outside --exclude-km"),
        ("batch", "the columns are buffer_m, crs, year", "the columns are buffer_m, crs, year"),
        ("query", "buffer_m must be more for shape='box'", "--buffer must be more for --shape box"),
        ("query", "pass storage_options={'a': …}", "pass --storage-options '{\"a\": …}'"),
        ("similar", "k must be at least 1; got 0", "-k must be at least 1; got 0"),
        ("plot", "got dpi=1e+06, width=10", "got --dpi 1e+06, --width 10"),
        ("batch", "no 'on_error' in /on_error, on_errors", "no 'on_error' in /on_error, on_errors"),
        ("info", "use on_error='nan'", "use on_error='nan'"),
        ("batch", "buffer_m applies to points", "--buffer applies to points"),
        ("batch", "choose with layer=", "choose with --layer"),
    ],
)
def test_arguments_become_options(command, message, expected):
    assert in_options(message, main.commands[command]) == expected


def test_what_a_command_has_no_option_for_is_named_as_in_others():
    others = main.commands.values()
    told = in_options("take its lock with break_lock=True", main.commands["explore"], others)
    assert told == "take its lock with --break-lock"
