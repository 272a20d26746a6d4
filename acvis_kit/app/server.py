"""Serving the page, and deleting its old files."""

from __future__ import annotations

import atexit
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio.route_utils import FnIndexInferError
from starlette.middleware import Middleware

from acvis_kit.app import style
from acvis_kit.app.guard import (
    UPLOAD_BYTES,
    Guard,
    TooLargeError,
    allowed_hosts,
    quota_reached,
    too_large,
    unknown_function,
    unusable_request,
)
from acvis_kit.app.layout import build_app
from acvis_kit.app.memory import limit_arenas
from acvis_kit.app.quota import QuotaError
from acvis_kit.app.storage import PREFIX, PageFolder, sweep
from acvis_kit.app.studio import Studio
from acvis_kit.errors import ConfigError
from acvis_kit.files import ended_by_sigterm
from acvis_kit.weights.load import Loaded

SWEEP_EVERY, KEEP_SECONDS = 300, 3000  # seconds; together less than an hour, the limit that the page promises
FORWARDED = "FORWARDED_ALLOW_IPS"  # uvicorn's variable: peers whose X-Forwarded-For it believes

logger = logging.getLogger(__name__)


def launch(
    loaded: Loaded,
    host: str = "127.0.0.1",
    port: int | None = 7860,
    share: bool = False,
    open_browser: bool = False,
    block: bool = True,
    examples: Path | None = None,
    allow_hosts: Sequence[str] = (),
    others: Sequence[Loaded] = (),
    proxies: int = 0,
) -> gr.Blocks:
    """Serve the page until interrupted.

    Its files lie in a folder of its own, which is removed when the process ends, by SIGTERM too.

    Args:
        loaded: the model, on the device it is to run on, and where it is from; see `weights.load.open_weights`.
        host: address to serve on; 0.0.0.0 accepts connections from other machines.
        port: port to serve on; None takes it from gradio's environment variables.
        share: request a public address from gradio; all traffic then goes through its servers.
        open_browser: open the page in the default browser.
        block: wait until interrupted; False returns at once.
        examples: a folder of clips instead of the bundled ones.
        allow_hosts: names of hosts that a page on a loopback address answers besides, for example of a proxy.
        others: further weights to choose from, each on a page of its own with its own examples.
        proxies: how many proxies stand in front of the page; the addresses that they give in X-Forwarded-For tell
            visitors apart, each of whom may upload `quota.VISITOR_BYTES`. `share` adds one.

    Returns:
        The page: `close()` stops the server, `local_url` is its address.

    Raises:
        ConfigError: the port is taken, or the number of proxies is negative.
    """
    if proxies < 0:
        raise ConfigError(f"proxies={proxies} must be 0 or more: the number of proxies before the page")
    folder = _own_folder()
    with ended_by_sigterm() if block else nullcontext():
        if block:  # then the process is the page's alone
            tempfile.tempdir = str(folder.work)
            limit_arenas()
        studios = [
            Studio(one, examples=examples, home=folder.examples / str(number))
            for number, one in enumerate((loaded, *others))
        ]
        clips = [path for studio in studios for path in studio.examples.values()]
        app = build_app(loaded, studio=studios[0], others=studios[1:])
        app.queue(max_size=64, default_concurrency_limit=4, api_open=False)  # no request passes the queue by
        hosts = None if share else allowed_hosts(host, allow_hosts)
        try:
            with _no_forwarded_peers():
                app.launch(
                    server_name=host,
                    server_port=port,
                    share=share,
                    inbrowser=open_browser,
                    prevent_thread_lock=True,
                    theme=style.theme(),
                    css=style.CSS + style.posters(clips),
                    head=style.HEAD,
                    max_file_size=UPLOAD_BYTES,
                    allowed_paths=[*map(str, clips), str(folder.examples)],
                    app_kwargs=_app_options(hosts, proxies + share),
                    enable_monitoring=False,
                    run_history=False,  # it would keep clips in the browser's storage
                    footer_links=["api"],
                    ssr_mode=False,
                )
        except OSError as error:
            if "port" not in str(error):
                raise
            raise ConfigError(f"port {port} on {host} is taken: choose another with port=") from None
        threading.Thread(target=_warm_up, args=(studios,), daemon=True).start()
        threading.Thread(target=_sweep_while_served, args=(app, folder.visitors, studios), daemon=True).start()
        if block:
            app.block_thread()
    return app


def _app_options(hosts: set[str] | None, proxies: int) -> dict[str, Any]:
    """Arguments of gradio's FastAPI: the guard, and answers to faulty requests instead of a server error."""
    faults = {
        KeyError: unknown_function,
        FnIndexInferError: unknown_function,
        TooLargeError: too_large,
        QuotaError: quota_reached,
        **dict.fromkeys((RequestValidationError, TypeError, ValueError, AttributeError), unusable_request),
    }
    guard = Middleware(Guard, hosts=hosts, kept=KEEP_SECONDS + SWEEP_EVERY, proxies=proxies)
    return {"middleware": [guard], "exception_handlers": faults}


@contextmanager
def _no_forwarded_peers() -> Iterator[None]:
    """Let a server that is started here keep the address of its peer.

    Uvicorn puts in its place what a peer on this machine writes into X-Forwarded-For; the guard decides about that.
    """
    if FORWARDED in os.environ:
        yield
        return
    os.environ[FORWARDED] = ""
    try:
        yield
    finally:
        del os.environ[FORWARDED]


def _own_folder() -> PageFolder:
    """Make a folder for this page's files, in gradio's folder if one is set; gradio uses it from now on.

    It is removed when the process ends.
    """
    named = os.environ.get("GRADIO_TEMP_DIR")
    around = Path(named) if named else None
    if around and around.parent.name.startswith(PREFIX):  # set by an earlier page of this process
        around = around.parent.parent
    folder = PageFolder(around)
    os.environ["GRADIO_TEMP_DIR"] = str(folder.visitors)
    atexit.register(folder.remove)
    return folder


def _warm_up(studios: Sequence[Studio]) -> None:
    for studio in studios:
        studio.warm_up()


def _sweep_while_served(app: gr.Blocks, folder: Path, studios: Sequence[Studio]) -> None:
    """Delete what is old: files, takes and encoded clips.

    gradio's `delete_cache` would know only those files that a component has shown, and its `State` would keep the takes
    of a closed page for another hour.
    """
    while True:
        time.sleep(SWEEP_EVERY)
        if not app.is_running:
            return
        try:
            sweep(folder, time.time() - KEEP_SECONDS)
            for studio in studios:
                studio.expire(KEEP_SECONDS)
        except Exception:  # the next sweep deletes what this one left
            logger.exception("old files could not be deleted")
