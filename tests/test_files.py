"""Files are whole or not there, have the permissions of any new file, and hold UTF-8 text on every machine."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from acvis_kit.errors import AcvisError, MediaError
from acvis_kit.files import IN_USE, atomic_write, read_text, reserved, write_errors, write_tensors, write_text
from acvis_kit.masks import encode_masks
from acvis_kit.media.write import write_video
from acvis_kit.weights.load import save_model
from tests.conftest import TINY, make_model

ROOT = Path(__file__).parents[1]
ASCII_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def umask() -> Iterator[None]:
    """Files that the group may write and others may read."""
    before = os.umask(0o002)
    yield
    os.umask(before)


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_half(file: Path, error: BaseException) -> None:
    with atomic_write(file, needed=12_500_000) as draft:
        draft.write_bytes(b"half")
        raise error


def test_after_an_error_the_earlier_file_stays_and_nothing_else(tmp_path: Path) -> None:
    file = write_text(tmp_path / "a.txt", "before")
    with pytest.raises(KeyboardInterrupt):
        write_half(file, KeyboardInterrupt())
    assert read_text(file) == "before" and list(tmp_path.iterdir()) == [file]


def test_the_file_appears_when_it_is_complete_and_its_draft_has_its_suffix(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    with atomic_write(file) as draft:
        draft.write_bytes(b"x")
        assert not file.exists() and draft.parent == tmp_path and draft.suffix == ".mp4"
    assert file.read_bytes() == b"x" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["n" * 246 + ".txt", "n." + "s" * 248, "猫" * 82 + ".txt"])
def test_a_name_may_have_as_many_bytes_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    assert read_text(write_text(tmp_path / name, "whole")) == "whole"


def test_permissions_are_as_the_umask_says(tmp_path: Path, umask: None) -> None:
    assert permissions(write_text(tmp_path / "a.txt", "")) == 0o664
    assert permissions(write_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(3)})) == 0o664


def test_an_error_names_the_file_and_the_cause(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"no/a\.txt cannot be written: create the folder .*/no first"):
        write_text(tmp_path / "no" / "a.txt", "x", MediaError)
    with pytest.raises(AcvisError, match=r"cannot be written: Is a directory"):
        write_text(tmp_path, "x")
    with pytest.raises(AcvisError, match=r"cannot be written: File name too long"):
        write_text(tmp_path / ("n" * 256), "x")
    with (
        pytest.raises(MediaError, match=r"a: b cannot be written: FFmpeg ended"),
        write_errors(Path("a: b"), MediaError),
    ):
        raise OSError("FFmpeg ended\n")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named_with_what_was_needed(tmp_path: Path) -> None:
    with pytest.raises(AcvisError, match=r"the disk is full, 12\.5 MB are needed: make room"):
        write_half(tmp_path / "a", OSError(errno.ENOSPC, "No space left on device"))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_of_tensors_is_an_error_of_weights(tmp_path: Path) -> None:
    """safetensors has an error of its own, which is no OSError; a limit of 100 kB a file stands for a full disk."""
    code = f"""
import resource, signal, torch
from acvis_kit.errors import WeightsError
from acvis_kit.files import write_tensors
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_tensors({str(tmp_path / "a.safetensors")!r}, {{"a": torch.zeros(100_000)}})
except WeightsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == f"{tmp_path}/a.safetensors cannot be written: File too large"
    assert not list(tmp_path.iterdir())


def test_tensors_come_back_as_they_were_views_too(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.ones(2, dtype=torch.int64, requires_grad=False)}
    back = load_file(write_tensors(tmp_path / "a.safetensors", tensors))
    assert {name: x.tolist() for name, x in back.items()} == {name: x.tolist() for name, x in tensors.items()}


def test_equal_tensors_are_equal_files(tmp_path: Path) -> None:
    """safetensors writes metadata in a random order, so that the checksums of two equal runs differed."""
    metadata = {key: key.upper() for key in "abcdefgh"} | {"ö": "Käuzchen"}
    tensors = {"b": torch.arange(4.0), "a": torch.ones(2, 3)}
    files = [write_tensors(tmp_path / f"{n}.safetensors", tensors, metadata) for n in range(4)]
    assert len({file.read_bytes() for file in files}) == 1
    assert torch.equal(load_file(files[0])["b"], tensors["b"])
    with safe_open(files[0], "pt") as opened:
        assert opened.metadata() == {"format": "pt", **metadata}


def test_what_a_link_points_to_is_replaced_and_a_device_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink() and read_text(tmp_path / "real") == "x"
    write_text("/dev/null", "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_text_is_utf_8_with_its_line_ends_and_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = write_text(tmp_path / "a.txt", "猫é\r\n")
    assert file.read_bytes() == "猫é\r\n".encode()
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_text(file) == "猫é\n"
    file.write_bytes("é".encode("latin-1"))
    with pytest.raises(ValueError, match="utf-8"):
        read_text(file)


@pytest.mark.slow
def test_commands_read_and_write_any_name_in_an_ascii_locale(tmp_path: Path) -> None:
    """File and class names that ASCII lacks, and a byte order mark, as `acvis predict` and `acvis evaluate` meet them.

    What standard output cannot show is escaped.
    """
    model = make_model(replace(TINY, class_names=("猫é",)))
    weights = save_model(model, tmp_path / "é")
    clip = write_video(tmp_path / "猫é.mp4", [np.zeros((64, 96, 3), np.uint8)] * 5, 5, torch.randn(16000))
    code = encode_masks(torch.ones(1, 8, 8, dtype=torch.bool))[0]
    mask = {"video_id": 1, "category_id": 1, "segmentations": [{"size": [8, 8], "counts": code["counts"].decode()}]}
    video = {"id": 1, "name": "vidéo", "file_names": ["é/0.jpg"], "length": 1, "height": 8, "width": 8}
    truth = {"videos": [video], "categories": [{"id": 1, "name": "猫é"}], "annotations": [{**mask, "id": 1}]}
    gt, results, page, out = (tmp_path / f"猫é.{name}" for name in ("gt.json", "results.json", "html", "out.json"))
    gt.write_text(json.dumps(truth, ensure_ascii=False), encoding="utf-8-sig")
    results.write_text(json.dumps([{**mask, "score": 0.9}]), encoding="utf-8")
    commands = [
        ["predict", clip, "--weights", weights, "-o", tmp_path / "out"],
        ["evaluate", "--gt", gt, "--results", results, "--bootstrap", "0", "--html", page, "--out", out],
    ]
    script = (
        "import sys; from acvis_kit.cli import main; [main(x.split('|')) for x in sys.argv[1:]]; print(chr(0x732b))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *("|".join(map(str, words)) for words in commands)],
        capture_output=True, cwd=ROOT, env={**os.environ, **ASCII_LOCALE},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip().endswith(rb"\u732b")
    assert "猫é #0" in (tmp_path / "out" / "counts.csv").read_text(encoding="utf-8")
    assert "猫é" in page.read_text(encoding="utf-8")
    assert "猫é" in json.dumps(json.loads(out.read_text(encoding="utf-8")), ensure_ascii=False)


def test_a_folder_is_reserved_until_its_process_ends_however_it_ends(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    folder = tmp_path / "a" / "out"
    hold = f"""if True:
        from pathlib import Path
        from acvis_kit.files import reserved
        with reserved(Path({str(folder)!r})):
            print("reserved", flush=True)
            input()
    """
    with subprocess.Popen(
        [sys.executable, "-c", hold], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == b"reserved\n"
        words = rf"another process \({other.pid}\) is writing to {folder}: wait until"
        for _ in range(2):
            with pytest.raises(MediaError, match=words), reserved(folder, MediaError):
                pytest.fail("reserved twice")
        other.kill()
    assert (folder / IN_USE).exists()
    with reserved(folder, MediaError):
        assert (folder / IN_USE).read_text() == str(os.getpid())
    assert folder.is_dir() and not (folder / IN_USE).exists()


def test_a_folder_that_was_created_for_nothing_goes_and_one_with_a_file_stays(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), reserved(tmp_path / "out"):
        raise ZeroDivisionError
    assert not (tmp_path / "out").exists()
    with reserved(tmp_path / "out"):
        (tmp_path / "out" / "a.txt").write_text("a")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]
