"""The table of published weights, and names of places on the Hub."""

from __future__ import annotations

import pytest

from acvis_kit.errors import WeightsError
from acvis_kit.weights.published import WEIGHTS, Remote, choose_file, remote_of


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("user/repo", ("user/repo", None, None)),
        ("user/repo@v1.2", ("user/repo", "v1.2", None)),
        ("user/repo:sub/a.pth", ("user/repo", None, "sub/a.pth")),
        ("user/repo@main:a.safetensors", ("user/repo", "main", "a.safetensors")),
    ],
)
def test_a_repository_may_have_a_revision_and_a_file(source: str, expected: tuple[str | None, ...]) -> None:
    place = remote_of(source)
    assert (place.repository, place.revision, place.file) == expected
    assert str(place) == source


@pytest.mark.parametrize("source", ["model", "/a/b", "a/b/c", "out/model.safetensors", "./x", "a/b c", "user/"])
def test_paths_are_not_repositories(source: str) -> None:
    place = remote_of(source)
    assert place is None or source == "./x"  # has the form of one: the error of `load_model` lists the alternatives


def test_an_id_and_its_repository_are_the_same_place() -> None:
    for name, entry in WEIGHTS.items():
        assert remote_of(name) == remote_of(entry.repository)
        assert remote_of(name).entry is entry


def test_every_entry_has_licence_training_data_and_limits() -> None:
    for name, entry in WEIGHTS.items():
        assert entry.id == name and "/" in entry.repository
        assert entry.licence and entry.trained_on.endswith(".") and entry.limits.endswith(".")
    assert "drawn" in WEIGHTS["acvis-synth-tiny"].limits


def test_safetensors_come_before_pickles_and_several_are_listed() -> None:
    place = Remote("user/repo")
    assert choose_file(["a.pth", "model.safetensors", "b.safetensors"], place) == "model.safetensors"
    assert choose_file(["a.pth", "b.safetensors"], place) == "b.safetensors"
    assert choose_file(["README.md", "a.pth"], place) == "a.pth"
    assert choose_file(["README.md"], place) is None
    assert choose_file(["a.pth", "b.pth"], Remote("user/repo", file="b.pth")) == "b.pth"
    with pytest.raises(WeightsError, match=r"2 checkpoints \(a\.pth, b\.pth\).*user/repo:a\.pth"):
        choose_file(["b.pth", "a.pth"], place)
