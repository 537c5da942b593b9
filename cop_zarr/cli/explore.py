"""``cop-zarr explore``: a store in a browser, or the page as files."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import click

from cop_zarr.cli.main import main
from cop_zarr.cli.options import JSON, STORAGE_OPTIONS, STORE, TIMEOUT, option_group, output_option
from cop_zarr.cli.output import progress, show

TEXT_BROWSERS = frozenset({"www-browser", "links", "elinks", "lynx", "w3m"})
"""Browsers that would take the terminal, and cannot show the page."""


@main.command(
    examples=[
        "cop-zarr explore",
        "cop-zarr explore copernicus.zarr --to explorer",
    ]
)
@STORE
@click.option("--port", type=click.IntRange(0, 65535), help="Where to serve.  [default: any free port]")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
@output_option("FOLDER", "Write the page, to lie beside the STORE on any web server; serve nothing.")
@click.option("--overwrite", is_flag=True, help="Replace the page in FOLDER.")
@JSON
@option_group("store_options", STORAGE_OPTIONS, TIMEOUT)
def explore(
    store: str | None,
    port: int | None,
    no_browser: bool,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    store_options: dict[str, Any],
) -> None:
    """Show a STORE in a browser: colours, similar places, regions.

    Page and STORE are served to the browsers of this machine until Ctrl-C. With --to, the page is written
    as files, which any web server can serve.

    The page needs the STORE's components. If it keeps none, they are derived once, and kept in the STORE,
    or if that cannot be written, in the user's cache (~/.cache/cop-zarr), or in FOLDER.
    """
    if out is None and overwrite:
        raise click.UsageError("--overwrite needs --to FOLDER")
    if out is None:
        _serve(store, store_options, port or 0, no_browser, as_json)
    elif port is not None or no_browser:
        raise click.UsageError("--port and --no-browser cannot be given with --to, which serves nothing")
    else:
        _write(store, store_options, out, overwrite, as_json)


def _serve(
    store: str | None, store_options: dict[str, Any], port: int, no_browser: bool, as_json: bool
) -> None:
    """Serve page and store until Ctrl-C."""
    from cop_zarr.explorer.contents import open_store
    from cop_zarr.explorer.server import ExplorerServer

    reader, document = open_store(store, **store_options)
    with progress("components") as advance:
        server = ExplorerServer(reader, document, port, advance)
    with server, contextlib.suppress(KeyboardInterrupt):
        contents = server.contents
        report = {"store": contents.store.url, "url": server.url, "components": contents.components.url}
        show(report, as_json, f"{contents.store.url} is at {server.url} until Ctrl-C")
        if not no_browser:
            Thread(target=_open_browser, args=[server.url], daemon=True).start()  # some wait for their end
        server.serve_forever()


def _open_browser(url: str) -> None:
    """Open the user's browser, if there is one with a window."""
    import webbrowser

    with contextlib.suppress(webbrowser.Error):
        browser = webbrowser.get()
        if getattr(browser, "name", None) not in TEXT_BROWSERS:
            browser.open(url)


def _write(
    store: str | None, store_options: dict[str, Any], folder: Path, overwrite: bool, as_json: bool
) -> None:
    """Write the page to a folder, and report."""
    from cop_zarr.explorer.contents import find_contents, open_store
    from cop_zarr.explorer.static import check_page_folder, find_store, make_folder, write_page

    check_page_folder(folder, overwrite=overwrite)
    reader, document = open_store(store, **store_options)
    address = find_store(reader.folder, folder)
    with progress("components") as advance:
        contents = find_contents(reader, document, partial(make_folder, folder), advance)
    files = write_page(folder, address, has_components=contents.elsewhere is not None)
    report = {
        "store": contents.store.url,
        "folder": str(folder),
        "files": files,
        "store_address": address,
        "components": contents.components.url,
    }
    show(report, as_json, f"{folder}: {len(files)} files; the page reads the store at {address}")
