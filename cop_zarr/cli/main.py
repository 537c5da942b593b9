"""The command ``cop-zarr``: errors become messages and exit statuses."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from typing import Any

import click

import cop_zarr
from cop_zarr import system
from cop_zarr.cli.command import Command
from cop_zarr.cli.wording import in_options
from cop_zarr.core.wording import for_command_line
from cop_zarr.errors import CopZarrError, InputError, RegionWarning


class Commands(click.Group):
    """A group whose commands turn cop-zarr's errors into messages and exit statuses."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; SIGTERM and SIGHUP let it clean up, as Ctrl-C does."""
        previous = {
            number: signal.signal(number, lambda number, _: sys.exit(128 + number))
            for number in system.STOP_SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN  # as nohup sets it
        }
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default", RegionWarning)
                warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes any arguments
                with for_command_line():
                    return super().invoke(ctx)
        except InputError as error:
            raise click.UsageError(self._worded(ctx, error)) from error
        except CopZarrError as error:
            raise click.ClickException(self._worded(ctx, error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of our output has closed it; click ends without a message
            raise click.ClickException(str(error)) from error
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _worded(self, ctx: click.Context, error: CopZarrError) -> str:
        """The message of an error, in the words of the command that was invoked."""
        return in_options(
            str(error), self.commands.get(ctx.invoked_subcommand or "", self), self.commands.values()
        )


def _show_warning(message: Warning | str, *_: object) -> None:
    """Print a warning without the place in the code that it comes from."""
    from cop_zarr.cli.output import note

    note(f"Warning: {message}")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cop_zarr.__version__, prog_name="cop-zarr")
def main() -> None:
    """Copernicus-Embed as a chunked Zarr store, with queries for regions.

    The default STORE is COP_ZARR_STORE, or data/copernicus_embed.zarr. Stores and sources are paths or
    fsspec URLs.

    Exit status: 0 success; 1 failure, or damage was found; 2 wrong usage.
    """
