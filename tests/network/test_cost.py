"""Operations equal closed forms written out by hand; times are numbers, and the two convolutions agree."""

import itertools

import pytest

from fermoe.network import cost
from fermoe.network.model import ExtractorConfig, ModelConfig
from fermoe.network.resnet import ResNetConfig
from fermoe.network.variants import VARIANTS

PAPER = cost.block_macs(ModelConfig())
SMALL = ModelConfig(
    num_classes=3,
    image_size=16,
    cnn1=ExtractorConfig((7, 4, 3), (2, 3, 4)),
    cnn2=ExtractorConfig((3, 3), (2, 4)),
    resnet=ResNetConfig(depths=(1, 1), stem=4, widths=(2, 4)),
    width=8,
)


def extractor_macs(kernels, channels, side):
    """k² · C · O for every pixel; the side halves after each block."""
    pairs = itertools.pairwise((3, *channels))
    return sum(k * k * c * o * (side >> i) ** 2 for i, (k, (c, o)) in enumerate(zip(kernels, pairs, strict=True)))


def test_extractor_1_takes_12_3_gmac():
    convolutions = extractor_macs((75, 50, 25, 15, 9, 3), (8, 16, 32, 64, 128, 256), 224)
    assert PAPER["cnn1"] == convolutions + 7 * 7 * 256 * 512
    assert PAPER["cnn1"] / 1e9 == pytest.approx(12.3, abs=0.05)


def test_extractor_2_takes_1_1_gmac():
    assert PAPER["cnn2"] == extractor_macs((15, 7, 5, 3, 3), (16, 32, 64, 128, 256), 224)
    assert PAPER["cnn2"] / 1e9 == pytest.approx(1.1, abs=0.05)


def test_resnet_50_version_1():
    """Layer by layer; a stride on the first 1×1 convolution makes it cheaper than version 1.5's 4.1 GMAC."""
    macs, side, channels = 112 * 112 * 7 * 7 * 3 * 64, 55, 64
    for stage, (depth, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True)):
        for block in range(depth):
            if stage > 0 and block == 0:
                side = -(-side // 2)
            taps = channels * width + 9 * width * width + width * 4 * width
            macs += side * side * (taps + (channels * 4 * width if block == 0 else 0))
            channels = 4 * width
    assert PAPER["resnet"] == macs
    assert 3.8 < PAPER["resnet"] / 1e9 < 4.1


def test_dense_blocks():
    """Every expert is computed for every image, chosen or not."""
    mixture = 4 * 512 * 512 + 512 * 4 + 4 * 512  # experts, gate, weighted sum
    assert PAPER["moe_cnn"] == PAPER["moe_expression"] == mixture
    assert PAPER["fusion"] == 2304 * 512
    assert PAPER["head"] == 1024 * 7


def test_the_fft_is_counted_as_the_convolution_it_replaces():
    assert cost.block_macs(ModelConfig(convolution="fft")) == PAPER


def test_block_costs_of_a_small_network():
    costs = cost.block_costs(SMALL, batch=2, repeats=1)
    assert costs["block"].tolist() == ["cnn1", "cnn2", "resnet", "fusion", "moe_cnn", "moe_expression", "head"]
    assert costs["published_parameters"].isna().all()
    assert (costs[["forward_ms", "training_ms"]] > 0).all(axis=None)
    assert costs.set_index("block")["gmac_direct"].to_dict() == {
        name: macs / 1e9 for name, macs in cost.block_macs(SMALL).items()
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_have_their_own_blocks(variant):
    blocks = set(cost.block_macs(ModelConfig.miniature(7, variant)))
    lacking = {"no_cnn1": {"cnn1", "moe_cnn"}, "no_cnn2": {"cnn2"}, "no_cnn1_two_mixtures": {"cnn1"}}.get(
        variant, set()
    )
    if variant.startswith("backbone"):
        lacking = {"cnn1", "cnn2", "fusion", "moe_cnn", "moe_expression"}
    assert blocks == set(PAPER) - lacking


def test_compare_convolutions():
    table = cost.compare_convolutions(SMALL, batch=2)
    assert table["kernel"].tolist() == [7, 4, 3]
    assert table["side"].tolist() == [16, 8, 4]
    assert (table["largest_difference"] < 1e-5).all()
    direct = extractor_macs(SMALL.cnn1.kernels, SMALL.cnn1.channels, 16)
    assert table["gmac_direct"].sum() * 1e9 == pytest.approx(direct)


def test_fft_macs_do_not_grow_with_the_kernels_area():
    assert cost.direct_macs(75, 3, 8, 224) == 75**2 * 224**2 * 24
    small, large = (cost.fft_macs(kernel, 3, 8, 224) for kernel in (15, 75))
    assert large < 1.4 * small
    assert cost.fft_macs(75, 3, 8, 224, batch=32) < large < cost.direct_macs(75, 3, 8, 224) / 100


@pytest.mark.parametrize("size", ["paper64", "middle", "miniature"])
def test_no_extractor_takes_a_larger_share_of_a_scale_model_than_of_the_papers_network(size: str) -> None:
    shares = cost.share_table().set_index(["size", "block"])
    for block in ("cnn1", "cnn2"):
        for what in ("operations", "parameters"):
            of_size, of_paper = (shares.at[(name, block), what] for name in (size, "paper"))
            assert of_size <= of_paper + (0.005 if size == "paper64" else 0), (block, what, of_size, of_paper)


def test_the_larger_a_copy_the_smaller_the_extractors_share_of_its_operations() -> None:
    shares = cost.share_table().set_index(["size", "block"])["operations"]
    extractors = [
        shares[(size, "cnn1")] + shares[(size, "cnn2")] for size in ("paper", "miniature", "middle", "paper64")
    ]
    assert extractors == sorted(extractors, reverse=True)


def test_shares_are_of_the_whole() -> None:
    table = cost.share_table()
    assert table.groupby("size", sort=False)[["operations", "parameters"]].sum().to_numpy() == pytest.approx(1)
    paper = table[table["size"] == "paper"].set_index("block")
    assert paper.at["cnn1", "operations"] == pytest.approx(PAPER["cnn1"] / sum(PAPER.values()))


def test_variant_and_shape_tables():
    variants = cost.variant_table().set_index("variant")
    assert list(variants.index) == list(VARIANTS)
    assert variants.at["full", "parameters"] == 35_931_871
    assert variants.at["full", "gmac"] == pytest.approx(sum(PAPER.values()) / 1e9)
    shapes = cost.shape_table().set_index("property")
    assert shapes.loc["picture"].tolist() == ["224 × 224", *["64 × 64"] * 4]
