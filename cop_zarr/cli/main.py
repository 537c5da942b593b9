"""The command ``cop-zarr`` itself: errors become messages and exit statuses."""

from __future__ import annotations

import errno
import signal
import sys
from typing import Any

import click

import cop_zarr
from cop_zarr.errors import CopZarrError, InputError


class Commands(click.Group):
    """A group whose commands turn cop-zarr's own errors into messages and exit statuses."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a request to stop (SIGTERM, SIGHUP) lets it clean up, as Ctrl-C does."""
        before = {
            request: signal.signal(request, lambda number, _: sys.exit(128 + number))
            for request in (signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(request) is not signal.SIG_IGN  # as nohup asks
        }
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(str(error)) from error
        except CopZarrError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of our output has enough; click ends quietly
            raise click.ClickException(str(error)) from error
        finally:
            for request, handler in before.items():
                signal.signal(request, handler)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cop_zarr.__version__, prog_name="cop-zarr")
def main() -> None:
    """Copernicus-Embed as a chunked Zarr store, with queries for regions.

    Where STORE is left out, COP_ZARR_STORE names it (default data/copernicus_embed.zarr). Stores and
    sources are paths or fsspec URLs.

    Exit status: 0 good; 1 the job failed, or the check found damage; 2 wrong usage.
    """
