from acvis_kit.config import AVISEG_CLASSES
from acvis_kit.data.synth.classes import SYNTH_CLASSES, categories, category_id
from acvis_kit.data.synth.sounds import VOICES


def test_classes_are_avisegs_with_its_ids() -> None:
    assert len(SYNTH_CLASSES) == 12 and set(SYNTH_CLASSES) <= set(AVISEG_CLASSES)
    assert (category_id("person"), category_id("violin"), category_id("horse")) == (1, 2, 26)


def test_only_the_classes_used_are_listed_in_the_order_of_their_ids() -> None:
    assert categories(("horse", "cat")) == [{"id": 11, "name": "cat"}, {"id": 26, "name": "horse"}]
    ids = [entry["id"] for entry in categories()]
    assert ids == sorted(ids) and len(ids) == 12


def test_every_class_has_a_synthetic_voice() -> None:
    assert set(SYNTH_CLASSES) <= set(VOICES)
