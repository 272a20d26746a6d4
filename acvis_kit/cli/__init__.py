"""The `acvis` command: one module per subcommand that needs more than a few lines, and the parser that joins them."""

from acvis_kit.cli.parser import build_parser, main

__all__ = ["build_parser", "main"]
