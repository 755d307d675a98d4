"""Changed gates against networks changed by hand, and a network whose answer is its gate."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from fermoe.errors import UserError
from fermoe.evidence import interventions
from fermoe.network.model import ExpressNetMoE, ModelConfig
from fermoe.stats import wilson_interval
from fermoe.training.config import TrainConfig, model_config
from fermoe.training.feed import load_data
from fermoe.training.inference import TrainedRun

CONFIG = TrainConfig(dataset_options={"train": 14, "test": 20})
DATA = load_data(CONFIG, progress=False)


def untrained(variant="full"):
    """A run of a variant as its weights were drawn, with gates sharp enough to differ between images."""
    config = dataclasses.replace(CONFIG, variant=variant)
    torch.manual_seed(0)
    model = ExpressNetMoE(model_config(config, len(DATA.label_names))).eval()
    for name, module in model.named_modules():
        if name.endswith("gate"):
            nn.init.normal_(module.weight, std=3)
    return TrainedRun(config, model, torch.device("cpu"), "a run", DATA)


@pytest.fixture(scope="module")
def run():
    return untrained()


@pytest.fixture(scope="module")
def mixtures(run):
    return interventions.open_mixtures(run)


def own_logits(run):
    return run.predict(run.images(run.rows())).logits


@pytest.mark.parametrize("variant", ["full", "no_cnn1", "no_cnn2", "dense_gate", "frozen_gate", "balanced_gate"])
def test_unchanged_weights_give_the_networks_own_logits(variant):
    run = untrained(variant)
    found = interventions.open_mixtures(run)
    torch.testing.assert_close(found.logits(), own_logits(run))
    assert list(found.weights) == (["expression"] if variant == "no_cnn1" else ["cnn", "expression"])
    assert found.labels.tolist() == run.labels(run.rows()).tolist()


@pytest.mark.parametrize("name", ["cnn", "expression"])
def test_knocking_out_an_expert_is_a_network_with_that_expert_zero(mixtures, name):
    expert = int(mixtures.weights[name].sum(0).argmax())
    changed = mixtures.changed(lambda weights: interventions.knock_out(weights, expert), [name])
    other = untrained()
    for parameter in interventions.mixture(other.model, name).experts[expert].parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(changed.logits(), own_logits(other))
    assert not torch.allclose(changed.logits(), mixtures.logits())


@torch.inference_mode()
def test_a_forced_expert_carries_the_whole_weight_of_its_image(run, mixtures):
    changed = mixtures.changed(lambda weights: interventions.force(weights, 2), ["expression"])
    out = run.predict(run.images(run.rows()))
    rows = []
    for n, x in enumerate(out.features["fused"]):
        weight = out.gates["expression"][n].sort(descending=True).values[:2].sum()
        mixed = weight * run.model.moe_expression.experts[2](x).relu()
        rows.append(run.model.head(torch.cat([out.features["moe_cnn"][n], mixed])))
    torch.testing.assert_close(changed.logits(), torch.stack(rows))


def test_uniform_gates_keep_each_images_total_weight():
    weights = torch.tensor([[0.6, 0.2, 0.0, 0.0], [0.0, 0.0, 0.3, 0.3]])
    assert interventions.uniform(weights).tolist() == pytest.approx(np.array([[0.2] * 4, [0.15] * 4]))


def test_a_shuffle_hands_weights_on_and_a_dense_gate_is_dense(mixtures):
    weights = mixtures.weights["cnn"]
    order = torch.tensor([*range(1, len(weights)), 0])
    assert torch.equal(interventions.shuffle(weights, order)[:-1], weights[1:])
    assert (weights > 0).sum(1).tolist() == [2] * len(weights)
    dense = interventions.open_mixtures(untrained("dense_gate")).weights["cnn"]
    assert (dense > 0).all()
    torch.testing.assert_close(dense.sum(1), torch.ones(len(dense)))


def test_a_change_leaves_the_original_as_it_was(mixtures):
    before = {name: weights.clone() for name, weights in mixtures.weights.items()}
    interventions.ask(mixtures, np.random.default_rng(0))
    assert all(torch.equal(mixtures.weights[name], weights) for name, weights in before.items())


# --- a network whose answer is its gate --------------------------------------------------------------------

COUNTS = (10, 20, 30, 40)
LABELS = np.repeat(np.arange(4), COUNTS)


@pytest.fixture
def decided():
    """Expert e of the expression mixture says class e; the gate knows the class, with the next one as its second."""
    model = ExpressNetMoE(ModelConfig.miniature(4)).eval()
    for parameter in (*model.moe_expression.experts.parameters(), *model.head.parameters()):
        nn.init.zeros_(parameter)
    with torch.no_grad():
        for index, expert in enumerate(model.moe_expression.experts):
            expert.bias[index] = 1
            model.head.weight[index, 64 + index] = 1
    gates = torch.from_numpy(0.6 * np.eye(4)[LABELS] + 0.2 * np.eye(4)[(LABELS + 1) % 4]).float()
    inputs = {"cnn": torch.randn(100, 64), "expression": torch.zeros(100, 64)}
    return interventions.Mixtures(model, inputs, {"cnn": gates, "expression": gates}, LABELS)


def drops_of(mixtures):
    rng = np.random.default_rng(0)
    return interventions.accuracy_drops(interventions.ask(mixtures, rng), rng)


@pytest.fixture
def drops(decided):
    found = drops_of(decided)
    return {(drop.mixture, drop.measure, drop.expert): drop for drop in found}


def test_drops_of_a_gate_that_decides(drops):
    accuracy = drops["both", "unchanged_accuracy", None]
    assert accuracy[3:] == (1, *wilson_interval(100, 100), 100)
    for expert, images in enumerate(COUNTS):
        # Without its expert a class is taken for the next one.
        assert drops["expression", "knock_out_drop", expert].value == pytest.approx(images / 100)
        assert drops["expression", "forced_drop", expert].value == pytest.approx(1 - images / 100)
    assert drops["expression", "uniform_gates_drop", None].value == pytest.approx(0.9)  # ties go to the first class
    same_class = sum((images / 100) ** 2 for images in COUNTS)
    shuffled = drops["expression", "shuffled_gates_drop", None]
    assert shuffled.value == pytest.approx(1 - same_class, abs=0.05)
    assert 0 < shuffled.ci_low < shuffled.value < shuffled.ci_high < 1


def test_a_mixture_that_the_head_ignores_costs_nothing(drops):
    for (mixture, _, _), drop in drops.items():
        if mixture == "cnn":
            assert drop[3:6] == (0, 0, 0)
    # Both at once is then the other one alone.
    for measure in ("shuffled_gates_drop", "uniform_gates_drop"):
        both, single = drops["both", measure, None], drops["expression", measure, None]
        assert both.value == single.value


def test_gates_that_are_the_same_for_every_image_cannot_be_shuffled(decided):
    same = decided.weights["expression"][:1].expand(100, 4)
    decided = dataclasses.replace(decided, weights={"expression": same}, inputs={"expression": torch.zeros(100, 64)})
    decided.model.head = nn.Linear(64, 4)
    found = drops_of(decided)
    shuffled = next(drop for drop in found if drop.measure == "shuffled_gates_drop")
    assert shuffled[3:6] == (0, 0, 0)
    assert {drop.mixture for drop in found} == {"expression", "both"}
    assert [drop.measure for drop in found if drop.mixture == "both"] == ["unchanged_accuracy"]


@pytest.mark.parametrize("variant", ["backbone", "no_moe"])
def test_a_network_without_gates_is_refused(variant):
    with pytest.raises(UserError, match="has no gates"):
        interventions.open_mixtures(untrained(variant))
    with pytest.raises(UserError, match="has no mixture 'cnn'"):
        interventions.mixture(untrained(variant).model, "cnn")


def test_few_images_are_spread_over_the_test_split(run):
    found = interventions.open_mixtures(run, 5)
    assert found.labels.tolist() == run.labels(run.rows(5)).tolist()
    drops = drops_of(found)
    assert {drop.images for drop in drops} == {5}


def test_random_linear_gates_tell_as_much_as_plain_ones_do(mixtures):
    x, labels = mixtures.inputs["cnn"].numpy(), mixtures.labels
    found = interventions.random_information(x, labels, 4, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    scaled = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    for value in found:
        choice = np.argmax(scaled @ rng.standard_normal((x.shape[1], 4)), axis=1)
        assert value == pytest.approx(mutual_info_score(labels, choice) / np.log(2), abs=1e-9)


def test_features_that_are_the_class_are_told_by_any_linear_gate():
    labels = np.repeat(np.arange(4), 50)
    told = interventions.random_information(np.eye(4)[labels], labels, 4, np.random.default_rng(0))
    noise = np.random.default_rng(1).standard_normal((200, 4))
    assert told.mean() > 1 > 0.2 > interventions.random_information(noise, labels, 4, np.random.default_rng(0)).mean()


def test_experts_are_as_alike_as_a_loop_over_images_says(run, mixtures):
    expert = interventions.mixture(run.model, "cnn")
    x = mixtures.inputs["cnn"].clone()
    found = interventions.output_similarity(expert, x)
    with torch.no_grad():
        outputs = [torch.relu(e(x)).numpy().astype(float) for e in expert.experts]
    for a in range(4):
        for b in range(4):
            cosines = [
                p @ q / np.linalg.norm(p) / np.linalg.norm(q)
                for p, q in zip(outputs[a], outputs[b], strict=True)
                if np.linalg.norm(p) > 0 and np.linalg.norm(q) > 0
            ]
            assert found[a, b] == pytest.approx(np.mean(cosines))


def test_answers_hold_both_for_every_mixture(mixtures):
    answers = interventions.ask(mixtures, np.random.default_rng(0))
    assert {name: len(values) for name, values in answers.information.items()} == dict.fromkeys(
        ("cnn", "expression"), interventions.RANDOM_GATES
    )
    assert {name: values.shape for name, values in answers.similarity.items()} == dict.fromkeys(
        ("cnn", "expression"), (4, 4)
    )
