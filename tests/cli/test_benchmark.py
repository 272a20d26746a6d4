"""`acvis benchmark`: times and memory that add up."""

from __future__ import annotations

import json

import pytest

from acvis_kit.cli import main


def test_reported_ratios_and_peaks_agree_with_their_parts(capsys) -> None:
    run = ["benchmark", "speed", "--preset", "acvis-synth-tiny", "--frames", "2", "--runs", "1", "--no-peer"]
    assert main([*run, "--size", "64", "96"]) == 0
    report = json.loads(capsys.readouterr().out)
    whole = report["encode_s_per_frame"] + report["decode_s_per_frame"]
    assert report["another_soundtrack_share"] == pytest.approx(report["decode_s_per_frame"] / whole)
    assert main(["benchmark", "memory", "--preset", "acvis-synth-tiny", "--frames", "2", "--size", "64", "96"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["peak_by_stage_gb"]) == 6 and next(iter(report["peak_by_stage_gb"])) == "start"
    assert report["peak_gb"] == max(report["peak_by_stage_gb"].values()) > 0.1
    assert report["peak_beyond_weights_gb"] == pytest.approx(report["peak_gb"] - report["weights_gb"])


@pytest.mark.parametrize("option", ["--frames", "--runs", "--steps", "--size"])
def test_a_number_of_things_is_at_least_one(option: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["benchmark", option, "0", *["64"] * (option == "--size")])
    assert "is 0, but must be a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.slow
def test_training_and_making_data_are_measured(capsys) -> None:
    run = ["benchmark", "train", "--preset", "acvis-synth-tiny", "--size", "64", "64", "--batch", "1", "--steps", "2"]
    assert main([*run, "--workers", "0", "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 2 and 0 <= report["waiting_per_step"] < report["seconds_per_step"]
    assert 0 < report["loss"] < float("inf")
    assert main(["benchmark", "synth", "--clips", "4"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["clips_per_second"] == report["clips_per_second_per_worker"] > 0
