"""`acvis demo`: the page, in a browser."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from acvis_kit.cli.options import add_weights, check_preset, load, say
from acvis_kit.errors import AcvisError, ConfigError
from acvis_kit.weights.published import DEFAULT_WEIGHTS

if TYPE_CHECKING:
    from acvis_kit.weights.load import Loaded


def add_demo(commands: argparse._SubParsersAction) -> None:
    """Register the subcommand."""
    parser = commands.add_parser("demo", help="open the page in a browser")
    parser.set_defaults(run=_demo)
    add_weights(parser, default=DEFAULT_WEIGHTS, preset=DEFAULT_WEIGHTS)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a host name that a page on 127.0.0.1 answers besides, for example of a proxy; may be repeated",
    )
    parser.add_argument(
        "--proxies",
        type=int,
        default=0,
        metavar="N",
        help="proxies in front of the page, each of which appends the address of whom it answers to X-Forwarded-For: "
        "uploads have a limit per visitor, who is otherwise known by the address of the last proxy (0)",
    )
    parser.add_argument("--share", action="store_true", help="a public link through gradio's servers")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def _demo(arguments: argparse.Namespace) -> None:
    if not 0 < arguments.port < 2**16:
        raise ConfigError(f"--port {arguments.port} must lie between 1 and 65535")
    try:
        from acvis_kit.app import launch
    except ImportError as error:
        raise AcvisError(f"the page needs gradio ({error}): pip install 'acvis-kit[demo]'") from error
    launch(
        _load(arguments),
        host=arguments.host,
        port=arguments.port,
        share=arguments.share,
        open_browser=not arguments.no_browser,
        allow_hosts=arguments.allow_host,
        others=_others(arguments.weights),
        proxies=arguments.proxies,
    )


def _others(name: str) -> list[Loaded]:
    from acvis_kit.weights.load import open_bundled

    return [_placed(loaded) for loaded in open_bundled(without=name)]


def _load(arguments: argparse.Namespace) -> Loaded:
    """The model that --weights names and its origin; the bundled weights if the Hub cannot be reached."""
    from acvis_kit.weights.load import RANDOM, Loaded, open_weights

    if arguments.weights == RANDOM:
        loaded = Loaded(load(arguments), RANDOM)
    else:
        check_preset(arguments)
        loaded = open_weights(arguments.weights, audio_weights=arguments.audio_weights, fall_back=DEFAULT_WEIGHTS)
    if loaded.notice:
        say(f"note: {loaded.notice}")
    return _placed(loaded)


def _placed(loaded: Loaded) -> Loaded:
    import torch

    return replace(loaded, model=loaded.model.to("cuda" if torch.cuda.is_available() else "cpu"))
