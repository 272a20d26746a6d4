"""The subcommands of `acvis` that need more than a few lines, one module each."""
