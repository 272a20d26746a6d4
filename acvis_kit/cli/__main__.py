"""`python -m acvis_kit.cli`: for torchrun, and for environments where `acvis` is not on the path."""

import sys

from acvis_kit.cli.parser import main

sys.exit(main())
