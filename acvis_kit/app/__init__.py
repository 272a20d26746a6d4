"""The page "Hear what the model hears". `acvis demo` and the Space start here.

sound_settings (the sound) and clips (the video) go into the studio, which runs the model and keeps takes. A take is one
run of a clip with one sound. views and downloads present a take; layout and handlers connect it to gradio; server
serves the page.
"""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # gradio reads it on import; it reports usage by default

from acvis_kit.app.layout import build_app
from acvis_kit.app.server import launch

__all__ = ["build_app", "launch"]
