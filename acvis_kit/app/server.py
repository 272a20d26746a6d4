"""Serving the page, and deleting its old files."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import gradio as gr

from acvis_kit.app import style
from acvis_kit.app.layout import build_app
from acvis_kit.app.studio import Studio
from acvis_kit.errors import ConfigError
from acvis_kit.weights.load import Loaded

MAX_UPLOAD = "1gb"
SWEEP_EVERY, KEEP_SECONDS = 300, 3000  # seconds; together less than an hour, the limit that the page promises


def launch(
    loaded: Loaded,
    host: str = "127.0.0.1",
    port: int | None = 7860,
    share: bool = False,
    open_browser: bool = False,
    block: bool = True,
    examples: Path | None = None,
) -> gr.Blocks:
    """Serve the page until interrupted.

    Args:
        loaded: the model, on the device it is to run on, and where it is from; see `weights.load.open_weights`.
        host: address to serve on; 0.0.0.0 accepts connections from other machines.
        port: port to serve on; None takes it from gradio's environment variables.
        share: request a public address from gradio; all traffic then goes through its servers.
        open_browser: open the page in the default browser.
        block: wait until interrupted; False returns at once.
        examples: a folder of clips instead of the bundled ones.

    Returns:
        The page: `close()` stops the server, `local_url` is its address.

    Raises:
        ConfigError: the port is taken.
    """
    folder = _own_folder()
    studio = Studio(loaded, examples=examples)
    app = build_app(loaded, studio=studio)
    app.queue(max_size=64, default_concurrency_limit=4)
    try:
        app.launch(
            server_name=host,
            server_port=port,
            share=share,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            theme=style.theme(),
            css=style.CSS + style.posters(studio.examples.values()),
            head=style.HEAD,
            max_file_size=MAX_UPLOAD,
            allowed_paths=[str(path) for path in studio.examples.values()],
            run_history=False,  # it would keep clips in the browser's storage
            footer_links=["api"],
            ssr_mode=False,
        )
    except OSError as error:
        if "port" not in str(error):
            raise
        raise ConfigError(f"port {port} on {host} is taken: choose another with port= (--port)") from None
    threading.Thread(target=studio.warm_up, daemon=True).start()
    threading.Thread(target=_sweep_while_served, args=(app, folder, studio), daemon=True).start()
    if block:
        app.block_thread()
    return app


def _own_folder() -> Path:
    """Make a folder for this page's files, in gradio's folder if one is set; gradio uses it from now on.

    Nothing else is in it, so that all of its old files can be deleted. It is removed when the process ends.
    """
    around = os.environ.get("GRADIO_TEMP_DIR") or None
    if around:
        Path(around).mkdir(parents=True, exist_ok=True)
    folder = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="acvis-page-", dir=around)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def sweep(folder: Path, before: float) -> int:
    """Delete files that came into `folder` before this moment (of `time.time`), and empty folders as old.

    The time of change counts, not that of modification: gradio's copies keep the latter from their originals.

    Returns:
        The number of files deleted.
    """
    deleted = 0
    for path in sorted(folder.rglob("*"), reverse=True):  # contents come before their folder
        try:
            if path.lstat().st_ctime >= before:
                continue
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            else:
                path.unlink()
                deleted += 1
        except OSError:  # in use, or deleted already
            continue
    return deleted


def _sweep_while_served(app: gr.Blocks, folder: Path, studio: Studio) -> None:
    """Delete what is old: files, takes and encoded clips.

    gradio's `delete_cache` would know only those files that a component has shown, and its `State` would keep the takes
    of a closed page for another hour.
    """
    while True:
        time.sleep(SWEEP_EVERY)
        if not app.is_running:
            return
        sweep(folder, time.time() - KEEP_SECONDS)
        studio.expire(KEEP_SECONDS)
