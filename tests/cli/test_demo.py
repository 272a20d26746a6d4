"""`acvis demo`: errors before the page is served."""

from __future__ import annotations

import socket

import pytest

from acvis_kit.cli import main


def test_a_taken_port_is_said_in_the_words_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["demo", "--weights", "random", "--preset", "acvis-synth-tiny", "--no-browser", "--port", str(port)]
        assert main(words) == 1
    assert capsys.readouterr().err.endswith(f"acvis: port {port} on 127.0.0.1 is taken: choose another with --port\n")
