"""The Space: the kit's page with the weights named by $ACVIS_WEIGHTS, else the bundled ones.

Visitors are told apart by what the Hub's proxy, or $ACVIS_PROXIES of them, says (see `acvis_kit.app.quota.Visitors`).
"""

import os
from contextlib import suppress
from dataclasses import replace

with suppress(ImportError):
    import spaces  # noqa: F401 (must be imported before torch uses a GPU)

import torch

from acvis_kit.app import launch
from acvis_kit.weights.load import RANDOM, Loaded, open_bundled, open_weights, random_model
from acvis_kit.weights.published import DEFAULT_WEIGHTS

weights = os.environ.get("ACVIS_WEIGHTS") or DEFAULT_WEIGHTS
loaded = (
    Loaded(random_model(DEFAULT_WEIGHTS), RANDOM)
    if weights == RANDOM
    else open_weights(weights, fall_back=DEFAULT_WEIGHTS)
)
device = "cuda" if torch.cuda.is_available() else "cpu"
loaded, *others = (replace(one, model=one.model.to(device)) for one in (loaded, *open_bundled(without=weights)))

if __name__ == "__main__":
    launch(
        loaded,
        host="0.0.0.0",
        port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        others=others,
        proxies=int(os.environ.get("ACVIS_PROXIES", "1")),
    )
