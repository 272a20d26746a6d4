"""Windows of time: which frames attend to which, and why one row of sound per frame is enough."""

from dataclasses import replace

import pytest
import torch

from acvis_kit.models.acvis.tracker import Tracker, Windows, _block
from acvis_kit.models.encoders.audio import AudioFeatures
from tests.conftest import TINY


@pytest.fixture
def tracker() -> Tracker:
    torch.manual_seed(0)
    return Tracker(TINY).eval()


def draw(frames: int, clips: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    queries = torch.randn(clips, frames, TINY.num_frame_queries, TINY.hidden_dim, generator=g)
    return queries, torch.randn(clips, frames, TINY.audio_dim, generator=g)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("clips", [1, 2, 5])
def test_every_window_is_processed_once_and_put_back_in_its_place(shifted: bool, clips: int) -> None:
    x = torch.randn(clips, 54, 3, 4)  # 9 windows per clip, more than are processed at once
    windows = Windows(x, 6, 50, shifted)
    assert torch.equal(windows.each(lambda own, mask: own + 1, x), x + 1)


def test_a_window_holds_consecutive_frames() -> None:
    x = torch.arange(54.0).view(1, 54, 1, 1)
    for shifted, begin in ((False, 0), (True, -3)):
        seen = []
        Windows(x, 6, 54, shifted).each(lambda own, mask, s=seen: s.append(own) or own, x)
        want = torch.arange(begin, begin + 54).remainder(54)
        assert torch.cat(seen).flatten().tolist() == want.tolist()


def test_windows_of_the_last_stream_are_masked_for_the_rows_of_the_first() -> None:
    one, many = torch.zeros(2, 12, 1, 4), torch.zeros(2, 12, 3, 4)
    shapes = []
    Windows(many, 6, 7, shifted=False).each(lambda own, seen, mask: shapes.append(mask.shape) or own, one, many)
    assert shapes == [(4, 1, 6, 18)]


def test_padded_frames_are_masked_out() -> None:
    barrier = Windows(torch.zeros(1, 12, 1, 1), 6, 7, shifted=False).barrier
    assert (barrier[0] == 0).all()
    assert barrier[1].tolist() == [[0, -1000, -1000, -1000, -1000, -1000]] * 6


def test_after_a_shift_the_end_and_the_beginning_of_the_clip_are_masked_from_each_other() -> None:
    barrier = Windows(torch.zeros(1, 12, 1, 1), 6, 12, shifted=True).barrier
    apart = barrier[0] < 0
    assert apart[:3, 3:].all() and apart[3:, :3].all() and not apart[:3, :3].any() and not apart[3:, 3:].any()
    assert (barrier[1] == 0).all()


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("window", [1, 2, 5, 6])
def test_whether_windows_need_a_mask_is_known_from_the_lengths(window: int, shifted: bool) -> None:
    for count in range(1, 6):
        for length in range((count - 1) * window + 1, count * window + 1):  # padded to whole windows
            windows = Windows(torch.zeros(1, count * window, 1, 1), window, length, shifted)
            ranges = [(first, stop) for first in range(count) for stop in range(first + 1, count + 1)]
            assert [windows._has_barrier(*r) for r in ranges] == [
                bool(windows.barrier[slice(*r)].any()) for r in ranges
            ]


def test_values_in_the_padding_have_no_effect(tracker: Tracker) -> None:
    """7 frames are padded to 12; the results of the 7 frames do not depend on the padding."""
    queries, sound = draw(7)
    want = tracker.encode(queries, sound)
    tokens = torch.nn.functional.pad(tracker.project(queries), (0, 0, 0, 0, 0, 5), value=9.0)
    padded = torch.nn.functional.pad(tracker.project_sound(sound), (0, 0, 0, 5), value=-9.0)
    tokens = tracker.encode_objects(tokens, 7)
    got = tokens + tracker.encode_sound(padded, tokens, 7)[:, :, None]
    torch.testing.assert_close(got[:, :7], want)


def test_one_row_of_sound_per_frame_equals_a_copy_for_every_query(tracker: Tracker) -> None:
    queries, sound = draw(9)
    tokens = torch.nn.functional.pad(tracker.project(queries), (0, 0, 0, 0, 0, 3))
    padded = torch.nn.functional.pad(tracker.project_sound(sound), (0, 0, 0, 3))
    copies = padded[:, :, None].expand(-1, -1, TINY.num_frame_queries, -1)
    for i, (attention, ffn) in enumerate(zip(tracker.sound_attention, tracker.sound_feed_forward, strict=True)):
        windows = Windows(tokens, 6, 9, shifted=i % 2 == 1)
        copies = windows.each(_block(attention, ffn), copies, tokens)
    torch.testing.assert_close(copies, tracker.encode_sound(padded, tokens, 9)[:, :, None].expand_as(copies))


def test_clips_of_a_batch_do_not_mix(tracker: Tracker) -> None:
    queries, sound = draw(8, clips=3)
    together, alone = tracker(queries, AudioFeatures(sound)), tracker(queries[1:2], AudioFeatures(sound[1:2]))
    torch.testing.assert_close(together.class_logits[:, 1:2], alone.class_logits)
    torch.testing.assert_close(together.mask_embeds[:, 1:2], alone.mask_embeds)
    assert (
        together.frame_similarity is None
        and tracker.train()(queries, AudioFeatures(sound)).frame_similarity is not None
    )


def test_objects_attend_across_windows_only_by_shifts_at_inference(tracker: Tracker) -> None:
    queries, _ = draw(12)
    tokens = tracker.project(queries)
    changed = tokens.clone()
    changed[:, 0] += 1
    reached = lambda: (tracker.encode_objects(changed, 12) - tracker.encode_objects(tokens, 12))[:, 6:].abs().max()  # noqa: E731
    layers = list(tracker.object_attention)
    assert len(layers) == 2  # layer 0 not shifted, layer 1 shifted: frame 0 -> 3, 4, 5 -> 6, 7, 8
    assert reached() > 0
    tracker.train()
    assert reached() == 0


def test_a_tracker_without_audio_input_has_no_sound_encoder() -> None:
    torch.manual_seed(0)
    silent = Tracker(replace(TINY, video_fusion=False)).eval()
    assert not [name for name, _ in silent.named_parameters() if "sound" in name]
    assert silent(draw(5)[0], None).class_logits.shape == (1, 1, TINY.num_video_queries, 27)
