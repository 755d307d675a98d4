"""03, 06: the network's parameters, operations, times, sizes and layers, in the form of `tables_for_people`."""

from __future__ import annotations

import pandas as pd

from fermoe.evidence.findings import share
from fermoe.plots import style
from fermoe.study.tables_for_people import PeopleTable


def blocks(table: pd.DataFrame) -> PeopleTable:
    """Parameters by block beside the published ones; `table` has the columns title, published, here."""
    ends = pd.DataFrame([{"title": "All", "published": table["published"].sum(), "here": table["here"].sum()}])
    rows = [
        (row.title, f"{row.published:,}", f"{row.here:,}", f"{row.here - row.published:,}")
        for row in pd.concat([table, ends]).itertuples()
    ]
    caption = "Parameters by block, moving statistics included"
    return PeopleTable(caption, ("Block", "Published", "Here", "Difference"), rows)


def agreement(convolutions: pd.DataFrame) -> PeopleTable:
    """Whether both ways agree, for every layer of extractor 1; `convolutions` is of `cost.compare_convolutions`."""
    rows = [
        (
            str(row.layer),
            f"{row.kernel}×{row.kernel}",
            f"{row.side}×{row.side}",
            f"{row.in_channels} → {row.out_channels}",
            f"{row.gmac_direct:.2f}",
            f"{row.gmac_fft:.2f}",
            "yes" if row.largest_difference < 1e-4 else "NO",
        )
        for row in convolutions.itertuples()
    ]
    columns = ("Layer", "Kernel", "Picture", "Channels", "GMAC, direct", "GMAC, FFT", "Equal to one in ten thousand")
    return PeopleTable("Extractor 1, directly and by FFT", columns, rows)


def operations(costs: pd.DataFrame) -> PeopleTable:
    """What each block computes for one image; `costs` is of `cost.block_costs`."""
    whole = costs["gmac_direct"].sum()
    rows = [(row.title, f"{row.gmac_direct:.3f}", share(row.gmac_direct / whole)) for row in costs.itertuples()]
    rows.append(("All", f"{whole:.1f}", share(1)))
    return PeopleTable("Operations for one image, convolutions taken directly", ("Block", "GMAC", "Share"), rows)


def times(costs: pd.DataFrame, convolutions: pd.DataFrame) -> PeopleTable:
    """How long each block, and each layer of extractor 1 in both ways, takes on this machine."""
    whole = costs["forward_ms"].sum()
    rows = [
        (row.title, f"{row.forward_ms:.1f}", f"{row.training_ms:.1f}", share(row.forward_ms / whole))
        for row in costs.itertuples()
    ]
    rows += [
        (f"extractor 1, {row.kernel}×{row.kernel}: direct, FFT", f"{row.direct_ms:.1f}, {row.fft_ms:.1f}", "", "")
        for row in convolutions.itertuples()
    ]
    columns = ("Block", "Forward, ms an image", "Forward and backward, ms an image", "Share of the forward pass")
    return PeopleTable("Times on the machine that ran this", columns, rows)


def variants(table: pd.DataFrame) -> PeopleTable:
    """Every variant in the paper's size and the miniature's; `table` is of `cost.variant_table`."""
    rows = [
        (
            style.variant_name(row.variant),
            row.what,
            f"{row.parameters:,}",
            f"{row.gmac:.1f}",
            f"{row.miniature_parameters:,}",
            f"{row.miniature_mmac:.1f}",
        )
        for row in table.itertuples()
    ]
    columns = ("Variant", "What it is", "Parameters", "GMAC", "Miniature: parameters", "Miniature: million MAC")
    return PeopleTable("The networks of the study", columns, rows)


def shapes(table: pd.DataFrame) -> PeopleTable:
    """The full network in every size; `table` is of `cost.shape_table`."""
    rows = [tuple(map(str, row)) for row in table.itertuples(index=False)]
    columns = ("Property", *(style.size_name(name) for name in table.columns[1:]))
    return PeopleTable("The sizes of the full network", columns, rows)


def shares(table: pd.DataFrame) -> PeopleTable:
    """What each block takes of every size, operations and parameters; `table` is of `cost.share_table`."""
    rows, sizes = [], list(dict.fromkeys(table["size"]))
    for block, group in table.groupby("block", sort=False):
        of = group.set_index("size")
        cells = [
            f"{share(of.at[s, 'operations'])}, {share(of.at[s, 'parameters'])}" if s in of.index else "" for s in sizes
        ]
        rows.append((str(block).replace("_", " "), *cells))
    columns = ("Block", *(style.size_name(size) for size in sizes))
    return PeopleTable("What each block takes of the network: operations, parameters", columns, rows)


def layers(*tables: pd.DataFrame) -> PeopleTable:
    """06: how fine the maps are; `tables` are of `grad_cam.layer_table`."""
    found = (
        pd.concat(tables, ignore_index=True).drop_duplicates("layer").sort_values(["branch", "cells"], kind="stable")
    )
    rows = [
        (style.branch_name(row.branch), f"{row.cells}×{row.cells}", f"{row.field:.0f} of {row.picture:.0f}")
        for row in found.itertuples()
    ]
    return PeopleTable("How fine the maps are", ("Branch", "Cells", "Pixels per side that a cell can see"), rows)
