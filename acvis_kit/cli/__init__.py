"""The `acvis` command: a module per subcommand, the options that several share, and the parser that joins them."""

from acvis_kit.cli.parser import build_parser, main

__all__ = ["build_parser", "main"]
