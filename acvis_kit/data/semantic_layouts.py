"""Which layout a folder for semantic systems has, from the table in it."""

from __future__ import annotations

from pathlib import Path

from acvis_kit.data.avsbench import AVSS_TABLE, MS3_TABLE, S4_TABLE, AVSSSplit, MS3Split, S4Split
from acvis_kit.data.semantic import SemanticSplit
from acvis_kit.data.vpo import VPO_SUBSETS, VPOSplit, table_of
from acvis_kit.errors import DataError


def open_split(root: str | Path, split: str = "test", subset: str | None = None) -> SemanticSplit:
    """A split of AVSBench-object, AVSBench-semantic, AVIS-Synth in the latter's layout, or VPO.

    Args:
        root: the folder of `s4_meta_data.csv`, `ms3_meta_data.csv` or `metadata.csv`, or of VPO and VGGSound.
        split: "train", "val" or "test".
        subset: of AVSBench-semantic one or more of v1s, v1m, v2 with commas between (None: all); of VPO ss, ms or msmi
            (None: the only one that is there).

    Raises:
        DataError: no layout or several, a subset where there are none, or a damaged table.
    """
    root = Path(root)
    tables = [name for name in (S4_TABLE, MS3_TABLE, AVSS_TABLE) if (root / name).is_file()]
    vpo = [name for name in VPO_SUBSETS if table_of(root, name).is_file()]
    if len(tables) + bool(vpo) != 1:
        found = ", ".join(tables + [table_of(root, name).name for name in vpo])
        raise DataError(
            f"{root} has {f'several tables ({found})' if found else 'no table'}: give the folder of one of {S4_TABLE}, "
            f"{MS3_TABLE}, {AVSS_TABLE}, or of VPO and VGGSound"
        )
    if vpo:
        if subset is None and len(vpo) > 1:
            raise DataError(f"{root} has the subsets {', '.join(vpo)}: choose one")
        return VPOSplit(root, split, subset or vpo[0])
    if tables == [AVSS_TABLE]:
        return AVSSSplit(root, split) if subset is None else AVSSSplit(root, split, subset.split(","))
    if subset is not None:
        raise DataError(f"subset={subset!r}: {tables[0]} has no subsets, leave it out")
    return S4Split(root, split) if tables == [S4_TABLE] else MS3Split(root, split)
