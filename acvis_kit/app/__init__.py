"""The page: hear what the model hears. `acvis demo` and the Space start here.

settings (what is to be heard) and clips (what is to be seen) go into the studio, which runs the model and keeps takes;
views and downloads show a take; layout wires it to gradio, server serves it.
"""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # gradio reads it on import, and tells its makers otherwise

from acvis_kit.app.layout import build_app
from acvis_kit.app.server import launch

__all__ = ["build_app", "launch"]
