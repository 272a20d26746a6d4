"""The page's texts about its weights: name, training data, limits."""

from __future__ import annotations

import html

from acvis_kit.models.avsc.config import AVSCConfig
from acvis_kit.models.ravs.config import RAVSConfig
from acvis_kit.weights.load import RANDOM, Loaded

TITLE = "Hear what the model hears"


def header(loaded: Loaded) -> str:
    """The head of the page, HTML: what it does, which weights are loaded, and a warning if they are random."""
    badge = f"<span class='badge'>weights: <code>{html.escape(loaded.name)}</code></span>"
    what = "pixels of which class" if isinstance(loaded.model.config, AVSCConfig | RAVSConfig) else "objects"
    text = (
        f"<div class='head'><h1>{TITLE}</h1>{badge}</div>"
        f"<p class='lead'>Which {what} in a video <em>sound</em>, second by second? Choose a clip, change its sound, "
        "and see how the masks change.</p>"
    )
    if loaded.entry is not None:
        limits = f"{loaded.entry.trained_on} <strong>{loaded.entry.limits}</strong>"
        text += f"<p class='limits'>Trained on {limits} <a href='#about'>More</a></p>"
    if loaded.name == RANDOM:
        text += _alert("The weights are random: the model is not trained, and the masks mean nothing.", "loud")
    if loaded.notice:
        text += _alert(loaded.notice, "notice")
    return text


def _alert(text: str, kind: str) -> str:
    return f"<p role='alert' class='alert {kind}'>{html.escape(text)}</p>"


def panel(loaded: Loaded) -> str:
    """A table of facts about the weights, and how to load others; HTML."""
    rows = [("name", f"<code>{html.escape(loaded.name)}</code>")]
    if loaded.repository:
        rows.append(("repository", f"<code>{html.escape(loaded.repository)}</code>"))
    local = "part of this installation" if loaded.entry and not loaded.repository else "a file on this machine"
    if loaded.name != RANDOM:
        rows.append(("revision", f"<code>{loaded.commit}</code>" if loaded.commit else local))
    if loaded.sha256:
        rows.append(("sha256", f"<code>{loaded.sha256[:16]}…</code>"))
    entry = loaded.entry
    if entry is not None:
        rows += [("trained on", html.escape(entry.trained_on)), ("limits", html.escape(entry.limits))]
        rows.append(("licence", html.escape(entry.licence)))
        rows += [(html.escape(name), f"{value:g}") for name, value in entry.scores.items()]
    elif loaded.name == RANDOM:
        rows.append(("trained on", "nothing"))
    else:
        rows.append(("trained on", "unknown: the weights are not in the kit's table. Ask whoever made the file"))
    config = loaded.model.config
    rows.append(("classes", html.escape(", ".join(config.class_names))))
    if isinstance(config, AVSCConfig):
        least = f"{100 * config.instance_area:.2g}%"
        rows.append(("count", f"connected parts of at least {least} of the picture, of the classes that are heard"))
    elif isinstance(config, RAVSConfig):
        rows.append(("count", "none: the masks say which pixels of a class sound, not how many objects"))
    elif config.count_head != "none":
        k_max = config.k_max
        rows.append(("count", f"0 to {k_max}; {k_max}+ means {k_max} or more"))
    table = "".join(f"<tr><th scope='row'>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return (
        f"<div class='about'><table aria-label='The weights'>{table}</table>"
        "<p>To load the checkpoints that the authors of AVISeg published, which were trained on filmed videos:</p>"
        "<pre><code>acvis demo --weights ruohguo/avis\n"
        "acvis convert CHECKPOINT.pth FOLDER &amp;&amp; acvis demo --weights FOLDER</code></pre>"
        "<p>A score is the model's confidence, not a measured accuracy. Clips and their results are deleted "
        "within an hour.</p></div>"
    )
