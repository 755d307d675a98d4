"""Grad-CAM against a closed form and a plain loop; measures against hand-made maps, boxes and predictors."""

import dataclasses
import itertools

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from pytorch_grad_cam.utils.image import scale_cam_image
from scipy import stats

from fermoe.data.arrays import prepare
from fermoe.data.datasets import Dataset, load_dataset
from fermoe.errors import UserError
from fermoe.evidence import faithfulness, grad_cam
from fermoe.evidence import maps as maps_module
from fermoe.evidence.maps import (
    BRANCHES,
    PARTS,
    TargetLayer,
    _layers,
    area_above_half,
    box_share,
    boxes_in_crop,
    branches,
    class_averages,
    enlarge,
    is_empty,
    layer_maps,
    map_entropy,
    redrawn,
    target_layer,
)
from fermoe.evidence.maps import (
    grad_cam as maps_of,
)
from fermoe.files import write_csv
from fermoe.network.model import ExpressNetMoE, ExtractorConfig, ModelConfig
from fermoe.network.resnet import ResNetConfig
from fermoe.study.tables import rebuild_tables
from fermoe.training.config import TrainConfig
from fermoe.training.feed import load_data
from fermoe.training.inference import TrainedRun
from fermoe.training.runs import write_result
from tests.helpers.runs import made_up, make_run
from tests.helpers.trees import refused

CPU = torch.device("cpu")


def network(variant="full", seed=0, **change):
    """A miniature network with random weights and, as after training, uneven batch-norm statistics."""
    torch.manual_seed(seed)
    model = ExpressNetMoE(dataclasses.replace(ModelConfig.miniature(7, variant), **change))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


def run_of(model, **config):
    return TrainedRun(TrainConfig(variant=model.config.variant, **config), model, CPU, "run", None)


def pictures(count, seed=0, size=64):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def finished():
    """A run on drawn faces, cropped to the true box, with the weights it was initialised with."""
    config = TrainConfig(dataset_options={"train": 20, "test": 14}, crop="annotated")
    return TrainedRun(config, network(), CPU, "a-run", load_data(config, progress=False))


@pytest.fixture(scope="module")
def evidence(finished):
    return grad_cam.explain_run(finished, removals=8, draws=3)


# Maps


def activations(model, x, branch):
    """The last map of a branch after its ReLU, and logits as a function of it, written out layer by layer."""
    features = model(x).features
    if branch == "resnet":
        y = F.max_pool2d(F.relu(model.resnet.stem_norm(model.resnet.stem(F.pad(x, (2, 3, 2, 3))))), 3, 2)
        for stage in model.resnet.stages:
            y = stage(y)
    else:
        blocks = getattr(model, branch).blocks
        y = x
        for conv, norm in zip(blocks.convs[:-1], blocks.norms[:-1], strict=True):
            y = F.max_pool2d(norm(F.relu(conv(y))), 2)
        y = F.relu(blocks.convs[-1](y))

    def logits(y):
        resnet = y.mean((2, 3)) if branch == "resnet" else features["resnet"]
        if model.config.variant == "backbone":
            return model.head(resnet)
        cnn2 = model.cnn2.blocks.norms[-1](y).mean((2, 3)) if branch == "cnn2" else features["cnn2"]
        cnn1 = features["cnn1"]
        if branch == "cnn1":
            cnn1 = F.relu(model.cnn1.dense(model.cnn1.blocks.norms[-1](y).flatten(1)))
        fused = F.relu(model.fusion(torch.cat([cnn2, resnet], 1)))
        return model.head(torch.cat([model.moe_cnn(cnn1)[0], model.moe_expression(fused)[0]], 1))

    return y, logits


def plain_grad_cam(model, images, branch, targets):
    """One image after the other, one channel after the other, by autograd: cells (N, h, h)."""
    maps = []
    for image, target in zip(images, targets, strict=True):
        y, logits = activations(model, image[None], branch)
        y = y.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(logits(y)[0, target], y)
        cells = torch.zeros(y.shape[-2:])
        for channel, slope in zip(y[0].detach(), gradient[0], strict=True):
            cells += slope.mean() * channel
        maps.append(F.relu(cells).numpy())
    return np.stack(maps)


@pytest.mark.parametrize(("branch", "seed"), [("cnn1", 0), ("cnn1", 1), ("cnn2", 0), ("cnn2", 1), ("resnet", 0)])
def test_maps_equal_a_plain_loop(branch, seed):
    model = network(seed=seed)
    trained, images, targets = run_of(model), pictures(9, seed), [0, 1, 2, 3, 4, 5, 6, 0, 1]
    maps = maps_of(trained, images, branch, targets)
    layer = target_layer(model, branch)
    expected = enlarge(plain_grad_cam(model, trained.normalise(images), branch, targets), layer.centres, 64)
    assert maps.shape == (9, 64, 64)
    assert (maps.max(axis=(1, 2)) == 1).sum() >= 3  # not a comparison of empty maps
    np.testing.assert_allclose(maps, expected, atol=1e-4)


def test_the_backbones_maps_have_a_closed_form():
    """Behind a global average and one dense layer, Grad-CAM is CAM (Zhou et al. 2016): the layer's own weights."""
    model = network("backbone")
    trained, images = run_of(model), pictures(8)
    predicted = trained.predict(images).logits.argmax(1).numpy()
    last, _ = activations(model, trained.normalise(images), "resnet")
    cam = torch.einsum("nc,nchw->nhw", model.head.weight[predicted], last).detach().numpy()
    expected = enlarge(np.maximum(cam, 0), np.array([3.0, 35.0]), 64)
    np.testing.assert_allclose(maps_of(trained, images, "resnet"), expected, atol=1e-5)


def test_many_layers_in_one_pass_are_the_same_as_one_by_one():
    model = network()
    trained, images = run_of(model), pictures(4)
    layers = [target_layer(model, b, side) for b in BRANCHES for side in (4, 1)]
    for layer, maps in zip(layers, layer_maps(trained, images, layers), strict=True):
        np.testing.assert_allclose(maps, layer_maps(trained, images, [layer])[0], atol=1e-6)


def test_batches_do_not_matter(monkeypatch):
    trained, images, targets = run_of(network()), pictures(7), [0, 1, 2, 3, 4, 5, 6]
    whole = maps_of(trained, images, "cnn2", targets)
    monkeypatch.setattr(maps_module, "BATCH", 3)
    np.testing.assert_allclose(maps_of(trained, images, "cnn2", targets), whole, atol=1e-5)


def test_explaining_leaves_the_network_as_it_was():
    model = network()
    model.train()
    maps_of(run_of(model), pictures(2), "cnn1")
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_map_without_positive_values_is_empty():
    model = network("backbone")
    with torch.no_grad():
        model.head.weight.copy_(-model.head.weight.abs())
    maps = maps_of(run_of(model), pictures(3), "resnet")
    assert not maps.any()
    assert is_empty(maps).all()
    assert np.isnan(area_above_half(maps)).all()
    assert np.isnan(map_entropy(maps)).all()
    assert np.isnan(box_share(maps, np.tile([0.0, 0, 9, 9], (3, 1)))[0]).all()


def test_targets_must_be_as_many_as_images():
    with pytest.raises(ValueError, match="2 targets for 3 images"):
        maps_of(run_of(network("backbone")), pictures(3), "resnet", [0, 1])


# Layers


def test_layers_of_the_miniature():
    model = network()
    sides = {b: (target_layer(model, b).side, target_layer(model, b, 4).side) for b in BRANCHES}
    assert sides == {"cnn1": (2, 4), "cnn2": (4, 4), "resnet": (2, 4)}
    assert target_layer(model, "cnn1").name == "cnn1.blocks.convs.5"
    assert grad_cam.layer_table(model)["cells"].tolist() == [2, 4, 2]


def test_a_variant_has_its_own_branches():
    assert branches(network("backbone")) == ("resnet",)
    assert branches(network("no_cnn1")) == ("cnn2", "resnet")
    with pytest.raises(UserError, match="no branch 'cnn2'"):
        target_layer(network("backbone"), "cnn2")
    with pytest.raises(UserError, match="100×100"):
        target_layer(network(), "resnet", 100)


@pytest.mark.parametrize("size", [128, 131])
@pytest.mark.parametrize("branch", ["cnn1", "resnet"])
def test_cells_lie_where_their_gradient_lies(branch, size):
    """What an inner cell sees, found by differentiating it, is as wide as `field` and centred as `centres` say."""
    model = network(
        "full" if branch == "cnn1" else "backbone",
        image_size=size,
        cnn1=ExtractorConfig((7, 6, 5, 4), (4, 4, 4, 4)),
        resnet=ResNetConfig(depths=(2, 1, 1, 1), stem=8, widths=(4, 4, 4, 4)),
    )
    x = pictures(2, size=size).requires_grad_()
    checked = 0
    for layer in _layers(model, branch):
        kept = []
        part = model.resnet.stages if branch == "resnet" else model.cnn1.blocks.convs
        handle = part[layer.block].register_forward_hook(lambda _m, _i, out, kept=kept: kept.append(out))
        (model.resnet if branch == "resnet" else model.cnn1.blocks)(x)
        handle.remove()
        assert kept[0].shape[-1] == layer.side
        cell = layer.side // 2
        if not layer.field / 2 <= layer.centres[cell] <= size - 1 - layer.field / 2:
            continue  # cut off by the picture's edge
        (gradient,) = torch.autograd.grad(kept[0][:, :, cell, cell].square().sum(), x)
        for axis in (2, 3):
            seen = gradient.abs().amax([a for a in range(4) if a != axis]).nonzero().flatten()
            assert (seen[0] + seen[-1]) / 2 == layer.centres[cell]
            assert seen[-1] - seen[0] + 1 == layer.field
        checked += 1
    assert checked >= 3


def test_evenly_spread_cells_are_enlarged_as_usual():
    """Where cells tile the picture, enlarging is OpenCV's, which pytorch-grad-cam uses, up to the scale."""
    cells = np.random.default_rng(0).random((3, 4, 4))
    ours = enlarge(cells, np.array([7.5, 23.5, 39.5, 55.5]), 64)
    for one, coarse in zip(ours, cells, strict=True):
        resized = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(one, resized / resized.max(), atol=1e-6)
    np.testing.assert_allclose(scale_cam_image(ours), scale_cam_image(scale_cam_image(cells, (64, 64))), atol=1e-5)


def test_one_cell_is_an_even_map():
    assert (enlarge(np.array([[[3.0]]]), np.array([31.5]), 64) == 1).all()


# Measures


def hand_made():
    even = np.ones((8, 8))
    point = np.zeros((8, 8))
    point[2, 5] = 1
    half = np.zeros((8, 8))
    half[:4] = 1
    slope = np.tile(np.arange(1, 9) / 8, (8, 1))
    return np.stack([even, point, half, slope, np.zeros((8, 8))]).astype(np.float32)


def test_area_above_half_of_known_maps():
    assert area_above_half(hand_made())[:4].tolist() == [1, 1 / 64, 0.5, 0.5]


def test_entropy_of_known_maps():
    entropy = map_entropy(hand_made())
    slope = hand_made()[3].ravel() / hand_made()[3].sum()
    expected = [1, 0, np.log(32) / np.log(64), stats.entropy(slope) / np.log(64)]
    np.testing.assert_allclose(entropy[:4], expected, atol=1e-6)
    assert np.isnan(entropy[4])


def test_shares_equal_counted_pixels():
    rng = np.random.default_rng(0)
    maps = rng.random((30, 12, 12)).astype(np.float32)
    boxes = np.sort(rng.integers(0, 13, (30, 2, 2)), axis=1).reshape(30, 4).astype(float)
    share, area = box_share(maps, boxes)
    for one, (x0, y0, x1, y1), s, a in zip(maps, boxes.astype(int), share, area, strict=True):
        assert s == pytest.approx(one[y0:y1, x0:x1].sum() / one.sum(), abs=1e-6)
        assert a == pytest.approx((x1 - x0) * (y1 - y0) / 144)


def test_pixels_cut_by_a_box_count_in_part():
    share, area = box_share(np.ones((1, 8, 8), np.float32), np.array([[0.25, 1.5, 4.75, 3.0]]))
    assert share[0] == pytest.approx(4.5 * 1.5 / 64)
    assert share[0] == pytest.approx(area[0])


def test_an_even_map_has_no_preference_and_a_point_has_one():
    maps = hand_made()[[0, 1]]
    share, area = box_share(maps, np.tile([4.0, 0, 8, 4], (2, 1)))
    assert (share / area).tolist() == [pytest.approx(1), pytest.approx(4)]


def test_boxes_move_with_the_crop(monkeypatch):
    """A box painted white, cropped and resized as the network's pictures are, is where the box is said to be."""
    dataset = load_dataset("synthetic", train=4, test=1)
    table = dataset.table
    crops = np.array([[10, 5, 100, 120], [0, 0, 128, 128], [30, 30, 90, 80], [5, 40, 128, 128], [20, 20, 110, 110]])
    found = pd.DataFrame(crops, columns=["x0", "y0", "x1", "y1"])
    monkeypatch.setattr(maps_module, "detect_faces", lambda dataset, progress: found)
    for crop in ("none", "annotated", "blazeface", "masked"):
        boxes = boxes_in_crop(dataset, crop, 64)
        corners = {"blazeface": crops, "annotated": table[[f"face_{c}" for c in found]].to_numpy()}
        kept = corners.get(crop, np.tile([0, 0, 128, 128], (5, 1)))
        for part in PARTS:
            for row, corner, box in zip(table.to_dict("records"), kept, boxes[part], strict=True):
                x0, y0, x1, y1 = (row[f"{part}_{c}"] for c in found)
                painted = np.zeros((128, 128, 3), np.uint8)
                painted[y0:y1, x0:x1] = 255
                monkeypatch.setattr("fermoe.data.arrays.picture", lambda _row, _channels, painted=painted: painted)
                where = dict(zip(found, corner, strict=True))
                seen = prepare({**row, **where}, "none" if crop == "masked" else crop, 64, 3)[0] / 255
                for axis, low, high in ((0, box[0], box[2]), (1, box[1], box[3])):
                    line = seen.max(axis=axis)  # its edges are soft: the resizing is bilinear
                    assert abs(line.sum() - (high - low)) <= 1
                    assert abs((line * (np.arange(64) + 0.5)).sum() / line.sum() - (low + high) / 2) <= 0.75


def test_boxes_need_a_drawn_face():
    with pytest.raises(UserError, match="true boxes"):
        boxes_in_crop(Dataset(pd.DataFrame({"image": ["a.jpg"]}), "folder", ("cat", "dog"), 3), "none", 64)


def test_class_averages():
    maps = hand_made()
    means = class_averages(maps, np.array([0, 0, 2, 2, 2]), 3)
    np.testing.assert_allclose(means[0], (maps[0] + maps[1]) / 2)
    assert np.isnan(means[1]).all()
    np.testing.assert_allclose(means[2], maps[2:].mean(axis=0), rtol=1e-6)
    assert class_averages(np.ones((2, 4)), np.array([0, 1]), 2).shape == (2, 4)


# Removal


def test_the_most_salient_pixels_come_first_and_ties_go_to_the_middle():
    saliency = np.zeros((1, 5, 5), np.float32)
    saliency[0, 0] = 1
    saliency[0, 1, 3] = 2
    order = faithfulness.removal_order(saliency)[0]
    assert order[0] == 8
    assert order[1] == 2
    assert set(order[2:4]) == {1, 3}
    assert set(order[4:6]) == {0, 4}
    assert order[6] == 12
    assert sorted(order) == list(range(25))


def test_removed_pixels_take_the_mean_colour():
    images = pictures(2, size=10)
    order = np.stack([np.arange(100), np.arange(100)[::-1]])
    changed = faithfulness.remove(images, order, 0.3)
    for image, new, gone in zip(images, changed, (slice(0, 3), slice(7, 10)), strict=True):
        kept = np.setdiff1d(np.arange(10), np.arange(10)[gone])
        assert torch.equal(new[:, kept], image[:, kept])
        for channel in range(3):
            np.testing.assert_allclose(new[channel, gone], image[channel].mean(), rtol=1e-6)


def bright_corner(images):
    """A predictor that sees the upper left quarter only: the brighter, the likelier class 1."""
    score = 40 * (images[:, :, :16, :16].mean((1, 2, 3)) - 0.5)
    return torch.stack([torch.zeros_like(score), score], 1)


def corner_case(cells, seed=0):
    """Pictures with a bright upper left quarter on black, and maps of the given cells (N, 2, 2)."""
    images = torch.zeros(len(cells), 3, 32, 32)
    images[:, :, :16, :16] = 1
    layer = TargetLayer("resnet", 0, "hand-made", np.array([7.5, 23.5]), 16)
    maps = enlarge(np.asarray(cells, dtype=float), layer.centres, 32)
    ones = np.ones(len(cells), dtype=np.int64)
    return faithfulness.removal(bright_corner, images, maps, layer, ones, ones, np.random.default_rng(seed))


def test_a_map_that_marks_what_is_used_gains():
    right = corner_case([[[1, 0], [0, 0]]] * 40)
    wrong = corner_case([[[0, 0], [0, 1]]] * 40)
    # Half of the quarter's brightness decides: at 20 % of the picture nearly the whole quarter is gone.
    assert right.probability[faithfulness.SALIENT][0] == pytest.approx(1)
    assert (right.probability[faithfulness.SALIENT][-1] < 0.01).all()
    assert not right.correct[faithfulness.SALIENT][-1].any()
    assert (wrong.probability[faithfulness.SALIENT] > 0.99).sum(axis=0).min() >= 4
    assert right.gain().mean() > 0.2
    assert right.gain(accuracy=True).mean() > 0.2
    assert wrong.gain().mean() < 0
    # All maps are alike: another image's is no worse.
    np.testing.assert_allclose(right.gain(faithfulness.OTHER), 0, atol=1e-12)


def test_gain_is_the_area_between_the_curves():
    curves = {
        faithfulness.SALIENT: np.array([[1.0], [0.8], [0.6], [0.2], [0.0]]),
        faithfulness.RANDOM: np.array([[1.0], [1.0], [0.9], [0.7], [0.5]]),
    }
    found = faithfulness.Removal(np.array([0]), curves, {kind: curve > 0.5 for kind, curve in curves.items()})
    steps = [(0.05, 0, 0.2), (0.05, 0.2, 0.3), (0.1, 0.3, 0.5), (0.2, 0.5, 0.5)]
    assert found.gain()[0] == pytest.approx(sum(w * (a + b) / 2 for w, a, b in steps) / 0.4)
    hits = [(0.05, 0, 0), (0.05, 0, 0), (0.1, 0, 1), (0.2, 1, 0)]
    assert found.gain(accuracy=True)[0] == pytest.approx(sum(w * (a + b) / 2 for w, a, b in hits) / 0.4)


def test_empty_maps_are_left_out_of_the_removal():
    cells = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]])
    found = corner_case(cells)
    assert found.kept.tolist() == [0, 2]
    table = faithfulness.removal_table(found, np.random.default_rng(0))
    assert set(table["images"]) == {2}
    none = corner_case(cells[:2])  # one map has no other to be compared with
    assert none.kept.size == none.gain().size == 0
    assert faithfulness.removal_table(none, np.random.default_rng(0))["probability"].isna().all()


@pytest.mark.parametrize("count", [2, 3, 10])
def test_another_is_never_the_same(count):
    for seed in range(20):
        other = faithfulness.another(count, np.random.default_rng(seed))
        assert sorted(other) == list(range(count))
        assert (other != np.arange(count)).all()


# Random weights


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, (2, 6, 7, 7)).astype(np.float32)  # with many ties
    one[5] = 1
    found = faithfulness.rank_correlation(one, other)
    expected = [stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one[:5], other[:5], strict=True)]
    np.testing.assert_allclose(found[:5], expected, atol=1e-12)
    assert np.isnan(found[5])


def test_redrawn_weights_are_other_weights():
    trained = run_of(network())
    state = torch.get_rng_state()
    first, again, other = (redrawn(trained, seed).model.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for name, own in trained.model.named_parameters():
        assert torch.equal(first[name], again[name])
        if own.ndim > 1:
            assert not torch.equal(first[name], own)
            assert not torch.equal(first[name], other[name])


def test_a_map_that_ignores_the_weights_is_found_out(monkeypatch):
    trained, images = run_of(network()), pictures(6)
    targets = trained.predict(images).logits.argmax(1).numpy()
    layers = [target_layer(trained.model, branch) for branch in BRANCHES]
    maps = layer_maps(trained, images, layers, targets.tolist())
    changing = faithfulness.random_weights_correlations(trained, images, layers, maps, targets, draws=6)
    assert changing.shape == (3, 6)
    assert (np.nanmean(changing, axis=1) < faithfulness.UNCHANGED).all()
    monkeypatch.setattr(faithfulness, "redrawn", lambda trained, seed: trained)
    same = faithfulness.random_weights_correlations(trained, images, layers, maps, targets, draws=2)
    np.testing.assert_allclose(same, 1, atol=1e-6)


NONE = (np.nan, np.nan, np.nan)


@pytest.mark.parametrize(
    ("random", "other", "expected"),
    [
        ((0.1, -0.1, 0.3), (0.6, 0.5, 0.7), "learned"),
        ((0.1, -0.1, 0.3), (0.2, 0.1, 0.3), "no better than random weights"),
        ((0.1, -0.1, 0.3), (0.4, 0.2, 0.6), "undecided"),
        ((0.1, -0.1, 0.3), NONE, "changes"),  # one training: no positive control
        ((0.9, 0.8, 1.0), (0.9, 0.8, 1.0), "does not change"),
        ((0.5, 0.2, 0.8), (0.9, 0.8, 1.0), "undecided"),
        ((0.9, np.nan, np.nan), NONE, "undecided"),
        (NONE, NONE, "no maps"),
    ],
)
def test_verdicts(random, other, expected):
    assert faithfulness.weights_verdict(random, other) == expected


def test_the_cascade_draws_one_more_part_at_a_time_and_ends_with_all_of_them():
    trained = run_of(network())
    own = trained.model.state_dict()
    untouched = []
    for last in range(1, len(faithfulness.CASCADE) + 1):
        parts = [part for name in faithfulness.CASCADE[:last] for part in faithfulness._PARTS[name]]
        drawn = redrawn(trained, 1, parts).model.state_dict()
        untouched.append({name for name in own if own[name].ndim > 1 and torch.equal(drawn[name], own[name])})
    assert untouched[0] == {name for name in own if own[name].ndim > 1 and not name.startswith("head.")}
    assert all(later < earlier for earlier, later in itertools.pairwise(untouched))
    assert not untouched[-1]


def test_the_backbones_map_ends_the_cascade_where_random_weights_are():
    trained, images = run_of(network("backbone")), pictures(6)
    targets = trained.predict(images).logits.argmax(1).numpy()
    layers = [target_layer(trained.model, "resnet")]
    maps = layer_maps(trained, images, layers, targets.tolist())
    found = faithfulness.cascade_correlations(trained, images, layers, maps, targets)
    assert found.shape == (1, 4)
    everything = faithfulness.random_weights_correlations(trained, images, layers, maps, targets, draws=3)
    assert found[0, -1] == pytest.approx(np.nanmean(everything))
    assert found[0, 0] == found[0, 2]  # it has neither mixtures nor a fusion


def test_imputed_pixels_are_the_mean_of_their_neighbours_and_the_others_stay():
    images = torch.full((2, 3, 12, 12), 0.25)
    images[:, :, :, 6:] = 0.75
    order = np.tile(np.arange(144).reshape(12, 12)[4:8, 4:8].ravel(), (2, 1))
    order = np.concatenate([order, np.setdiff1d(np.arange(144), order[0])[None].repeat(2, 0)], axis=1)
    filled = faithfulness.impute(images, order, 16 / 144)
    inside = torch.zeros(12, 12, dtype=torch.bool)
    inside[4:8, 4:8] = True
    assert torch.equal(filled[:, :, ~inside], images[:, :, ~inside])
    across = filled[:, :, 4:8, 4:8].mean(dim=(0, 1, 2))
    assert 0.25 < across[0] < across[1] < across[2] < across[3] < 0.75  # a slope, and no patch of one colour
    assert torch.equal(filled, faithfulness.impute(images, order, 16 / 144))


# Runs and table


def test_evidence_of_a_run(finished, evidence):
    assert [(e.layer.branch, e.layer.side) for e in evidence] == [
        ("cnn1", 2), ("cnn1", 4), ("cnn2", 4), ("resnet", 2), ("resnet", 4)
    ]  # fmt: skip
    assert [e.removal is not None for e in evidence] == [True, False, True, True, False]
    predicted = finished.predict(finished.images(finished.rows())).logits.argmax(1).numpy()
    for item in evidence:
        assert (item.predicted == predicted).all()
        assert item.maps.shape == (14, 64, 64)
        assert item.boxes["face"].tolist() == [[0, 0, 64, 64]] * 14  # the crop is the face
    resnet = evidence[3]
    np.testing.assert_allclose(resnet.maps, maps_of(finished, finished.images(finished.rows()), "resnet"), atol=1e-5)
    used = set(np.linspace(0, 13, 8).round().astype(int))
    assert set(resnet.removal.kept) == used - set(np.flatnonzero(is_empty(resnet.maps)))


def test_no_images_is_an_error(finished):
    with pytest.raises(UserError, match="images is 0"):
        grad_cam.explain_run(finished, 0)


def test_the_table(finished, evidence):
    table = grad_cam.grad_cam_table(evidence, resamples=200)
    assert list(table.columns) == list(grad_cam.COLUMNS)
    assert set(table["group"]) == {"all", "correct", "wrong"}
    assert (table[["dataset", "protocol", "variant", "crop", "run"]].drop_duplicates().to_numpy() == [
        ["synthetic", "audited", "full", "annotated", "a-run"]
    ]).all()  # fmt: skip
    item = evidence[2]
    rows = table[table["branch"] == "cnn2"].set_index(["group", "measure"])
    right, empty = item.labels == item.predicted, is_empty(item.maps)
    for group, inside in (("all", right | True), ("correct", right), ("wrong", ~right)):
        assert rows.at[(group, "empty_maps"), "value"] == (inside & empty).sum()
        assert rows.at[(group, "empty_maps"), "images"] == inside.sum()
        used = inside & ~empty
        assert rows.at[(group, "entropy"), "images"] == used.sum()
        if used.any():
            assert rows.at[(group, "entropy"), "value"] == pytest.approx(map_entropy(item.maps[used]).mean())
            share, area = box_share(item.maps[used], item.boxes["mouth"][used])
            assert rows.at[(group, "mouth_share"), "value"] == pytest.approx(share.mean())
            assert rows.at[(group, "mouth_ratio"), "value"] == pytest.approx(share.mean() / area.mean())
            assert rows.at[(group, "face_ratio"), "value"] == pytest.approx(1)
    assert rows.at[("all", "faithfulness_gain"), "value"] == pytest.approx(item.removal.gain().mean())
    assert rows.at[("all", "road_gain"), "value"] == pytest.approx(item.imputed.gain().mean())
    assert rows.at[("all", "cascade_4_extractors"), "value"] == pytest.approx(item.cascade[3])
    assert "other_training_correlation" not in set(table["measure"])  # there is one training
    row = rows.loc[("all", "random_weights_correlation")]
    assert row["value"] == pytest.approx(np.nanmean(item.redrawn))
    assert row["ci_low"] < row["value"] < row["ci_high"]
    known = table.dropna(subset=["ci_low", "ci_high"])
    assert (known["ci_low"] <= known["value"] + 1e-9).all()
    assert (known["value"] <= known["ci_high"] + 1e-9).all()


def test_the_maps_of_two_trainings_are_compared_where_both_predict_the_same_class(evidence):
    again = [dataclasses.replace(item, run={**item.run, "seed": 1, "run": "again"}) for item in evidence]
    other = dataclasses.replace(
        again[2], predicted=np.where(np.arange(14) < 4, again[2].predicted, 6 - again[2].predicted)
    )
    table = grad_cam.grad_cam_table([*evidence, *again[:2], other, *again[3:]], resamples=200)
    rows = table[(table["measure"] == "other_training_correlation") & (table["run"] == "a-run")].set_index("layer")
    for item in evidence:
        row = rows.loc[item.layer.name]
        used = ~is_empty(item.maps)
        if item is evidence[2]:
            used &= item.predicted == other.predicted
        assert row["images"] == used.sum()
        if used.any():
            assert row["value"] == pytest.approx(1)  # the same maps


def test_answers_from_before_the_cascade_are_read_without_it(evidence):
    content = {name: value for name, value in grad_cam.pack(evidence).items() if "imputed" not in name}
    content = {name: value for name, value in content.items() if "cascade" not in name}
    found = grad_cam.unpack(content)
    assert all(item.imputed is None and item.cascade is None for item in found)
    measures = set(grad_cam.grad_cam_table(found, resamples=50)["measure"])
    assert "faithfulness_gain" in measures
    assert not {name for name in measures if name.startswith(("road", "cascade"))}


def test_the_table_is_the_same_again_and_whatever_else_is_in_it(finished, evidence):
    whole = grad_cam.grad_cam_table(evidence, resamples=200)
    again = grad_cam.explain_run(finished, removals=8, draws=3)
    assert grad_cam.grad_cam_table(again, resamples=200).to_csv() == whole.to_csv()
    part = grad_cam.grad_cam_table(evidence[3:], resamples=200)
    pd.testing.assert_frame_equal(part, whole[whole["branch"] == "resnet"].reset_index(drop=True))


def test_without_boxes_and_without_errors_there_is_still_a_table(evidence):
    """Photographs have no boxes; a perfect network has no wrong predictions; a branch may have no maps at all."""
    plain = [dataclasses.replace(item, boxes={}, labels=item.predicted) for item in evidence]
    plain[1] = dataclasses.replace(plain[1], cells=0 * plain[1].cells)
    table = grad_cam.grad_cam_table(plain, resamples=200)
    assert not table["measure"].str.contains("share|ratio").any()
    wrong = table[table["group"] == "wrong"].set_index("measure")
    assert (wrong["images"] == 0).all()
    assert wrong.loc["entropy", "value"].isna().all()
    empty = table[(table["branch"] == "cnn1") & (table["side"] == 4) & (table["group"] == "all")].set_index("measure")
    assert empty.at["empty_maps", "value"] == 14
    assert np.isnan(empty.at["other_image_correlation", "value"])


def test_the_table_follows_from_the_kept_evidence_to_the_last_digit(evidence, tmp_path):
    grad_cam.TABLE.keep(tmp_path, evidence)
    kept = grad_cam.TABLE.kept(tmp_path)
    tables = [grad_cam.grad_cam_table(items, resamples=200).to_csv() for items in (evidence, kept)]
    assert tables[0] == tables[1]
    first = (tmp_path / "outcomes.npz").read_bytes()
    grad_cam.TABLE.keep(tmp_path, kept)
    assert (tmp_path / "outcomes.npz").read_bytes() == first


def test_a_study_rebuilds_the_table_from_the_kept_evidence_of_its_own_trainings(evidence, tmp_path):
    run = make_run(tmp_path, variant="full")
    for name, written in ((run, True), ("another-training", False)):
        named = [dataclasses.replace(item, run={**item.run, "run": name}) for item in evidence]
        grad_cam.TABLE.keep(tmp_path / "runs" / grad_cam.NOTEBOOK, named)
        write_result(tmp_path / "runs" / grad_cam.NOTEBOOK, grad_cam.NOTEBOOK, {"seed": 3})
        path = tmp_path / "tables" / "grad_cam.csv"
        path.unlink(missing_ok=True)
        rebuild_tables(tmp_path)
        assert path.exists() == written
        if written:
            write_csv(tmp_path / "expected.csv", grad_cam.grad_cam_table(named, 3))
            assert path.read_bytes() == (tmp_path / "expected.csv").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "cut", "no numbers"])
def test_evidence_that_cannot_be_read_is_one_line(evidence, tmp_path, damage):
    path = tmp_path / "outcomes.npz"
    if damage == "cut":
        grad_cam.TABLE.keep(tmp_path, evidence)
        path.write_bytes(path.read_bytes()[:-1000])
    if damage == "no numbers":
        np.savez(path, heads=np.array(["{}"]))
    with refused("the answers cannot be read", "run notebook 06_grad_cam again"):
        grad_cam.TABLE.kept(tmp_path)


def test_class_table(evidence):
    table = grad_cam.class_table(evidence[2:3], list("abcdefg"))
    item = evidence[2]
    assert table["images"].sum() == 14
    assert table["empty_maps"].sum() == is_empty(item.maps).sum()
    for c, row in table.iterrows():
        used = (item.predicted == c) & ~is_empty(item.maps)
        if used.any():
            share, area = box_share(item.maps[used], item.boxes["eyes"][used])
            assert row["eyes_ratio"] == pytest.approx(share.mean() / area.mean())
        else:
            assert np.isnan(row["eyes_ratio"])


def runs(*names, **parameters):
    """Finished runs by "<variant> <protocol> <crop> <seed>"."""
    found = []
    for name in names:
        variant, protocol, crop, seed = name.split()
        found.append(made_up(name, variant=variant, protocol=protocol, crop=crop, seed=int(seed), **parameters))
    return found


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["backbone audited blazeface 0", "full audited blazeface 1", "full audited blazeface 0",
             "full audited none 0", "no_moe audited blazeface 0", "full published blazeface 0"],
            ["full audited blazeface 0", "full audited blazeface 1", "backbone audited blazeface 0"],
        ),
        (["full audited masked 0", "full published none 0"], ["full published none 0"]),
        (["backbone audited none 0", "no_moe audited none 0"], ["backbone audited none 0"]),
        (["full audited masked 0"], ["full audited masked 0"]),
    ],
)  # fmt: skip
def test_runs_to_explain(names, expected):
    assert [run.name for run in grad_cam.runs_to_explain(runs(*names))] == expected


def test_another_pipeline_is_another_setting():
    augmented = runs("full audited none 1", augmentation="augment")  # first in the list, as its folder's name sorts
    found = [*augmented, *runs("full audited none 0")]
    assert [run.name for run in grad_cam.runs_to_explain(found)] == ["full audited none 0"]
