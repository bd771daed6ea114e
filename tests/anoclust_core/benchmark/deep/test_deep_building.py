"""Methods of deep clustering by their names: networks, views, published settings, what they will take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from anoclust_core.benchmark.deep import views as deep_views
from anoclust_core.benchmark.deep.building import Pretrained, build_method
from anoclust_core.benchmark.deep.networks import ClusterHeads, random_backbone
from anoclust_core.benchmark.deep.planning import Probe, planned, probe
from anoclust_core.benchmark.deep.settings import (
    GATCLUSTER,
    IIC,
    PUBLISHED,
    SCAN,
    SMALL,
    SPICE,
    GatSettings,
    IicSettings,
    Phase,
    ScanSettings,
    SpiceSettings,
    network_named,
)
from anoclust_core.benchmark.deep.training import train_deep
from anoclust_core.benchmark.deep.views import Views, varied
from anoclust_core.benchmark.deep_rows import BEST, LAST, deep_rows
from anoclust_core.errors import ArrayContractError, ConfigError, ResourceError
from anoclust_core.evaluation.protocols import SOHN
from anoclust_core.localization.training import torch_generator


def pixels(side: int, n_images: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n_images, 3, side, side), generator=generator, dtype=torch.uint8)


def pretrained() -> Pretrained:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", pretrained=False)
    return Pretrained(model, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def tuned() -> ScanSettings:
    """SCAN as published in what it trains and how, in the smallest size."""
    phases = (Phase("scan", 2, 0.1, momentum=0.9), Phase("self-labels", 3, 0.01, momentum=0.9))
    published = PUBLISHED[SCAN]
    assert isinstance(published, ScanSettings)
    return replace(published, side=64, n_views=2, batch=4, n_heads=2, threshold=0.0, phases=phases)


def scan_as_published():
    return build_method(SCAN, pixels(64), n_clusters=2, settings=tuned(), seed=0, pretrained=pretrained())


def test_published_scan_trains_the_network_after_the_heads():
    """Semantic clustering leaves the network as it is, self-labelling does not."""
    weights = {"start": network_weights(scan_as_published().module)}
    built = scan_as_published()
    train_deep(built, seed=0, checkpoint=lambda state: weights.update({state.step: network_weights(built.module)}))
    assert torch.equal(weights["start"], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert not torch.equal(weights[3], weights[5])


def network_weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for name, value in module.named_parameters() if "network" in name])


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_published_scan_resumes_with_its_momentum(stop_at):
    """Momentum, running means of batch normalisation and the network are part of the state."""
    states = {}
    whole = train_deep(scan_as_published(), seed=0, checkpoint=lambda state: states.update({state.step: state}))
    resumed = train_deep(scan_as_published(), seed=0, state=states[stop_at])
    np.testing.assert_array_equal(resumed.losses, whole.losses)
    for name, tensor in whole.state.tensors.items():
        assert torch.equal(resumed.state.tensors[name], tensor), name


def test_sizes_are_those_of_the_papers():
    """Numbers that the authors' programs have; a smaller default for every size."""
    iic, gat, scan, spice = (PUBLISHED[name] for name in (IIC, GATCLUSTER, SCAN, SPICE))
    assert isinstance(iic, IicSettings)
    assert isinstance(gat, GatSettings)
    assert isinstance(scan, ScanSettings)
    assert isinstance(spice, SpiceSettings)
    assert (iic.n_heads, iic.times, iic.batch, iic.repeats, iic.phases[0].learning_rate) == (5, 7, 140, 5, 1e-4)
    assert (gat.invariance, gat.entropy, gat.relation, gat.attention, gat.repeats) == (5, 3, 1, 5, 8)
    assert (scan.entropy, scan.n_heads, scan.neighbours, scan.threshold, scan.tunes_network) == (5, 10, 50, 0.99, True)
    assert (spice.prototype, spice.n_heads, spice.agreeing, spice.neighbours) == (0.5, 10, 0.95, 100)
    assert all(SMALL[name].side <= published.side for name, published in PUBLISHED.items())
    assert network_named(IIC, "x", as_published=True) == network_named(SCAN, "x", as_published=True) == "resnet50"
    assert network_named(SPICE, "x", as_published=False) == "x"


def test_what_cannot_be_built_is_refused():
    """Pictures of another size, too few of them, no weights, one cluster, pictures too small for the network."""
    for method in (SCAN, SPICE):
        with pytest.raises(ConfigError, match="starts from ImageNet weights"):
            build_method(method, pixels(192), n_clusters=2, settings=SMALL[method], seed=0)
    with pytest.raises(ArrayContractError, match=r"IIC needs more than 2 pictures of shape \(3, 112, 112\), uint8"):
        build_method(IIC, pixels(64), n_clusters=2, settings=SMALL[IIC], seed=0)
    with pytest.raises(ArrayContractError, match="more than 8 pictures"):
        build_method(IIC, pixels(112), n_clusters=8, settings=SMALL[IIC], seed=0)
    with pytest.raises(ConfigError, match="from 2 clusters on; found 1"):
        build_method(IIC, pixels(112), n_clusters=1, settings=SMALL[IIC], seed=0)
    with pytest.raises(ConfigError, match="from 112 px on; found 64"):
        build_method(IIC, pixels(64), n_clusters=2, settings=replace(SMALL[IIC], side=64), seed=0)


def test_random_weights_come_from_the_seed_alone():
    """A network of timm is the same for one seed, and the global generator stays where it was."""
    before = torch.random.get_rng_state()
    one, same, other = (random_backbone("test_resnet", 2, random=torch_generator(seed, "x")) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    first, second, third = (next(network.parameters()) for network in (one, same, other))
    assert first.shape[1] == 2
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_heads_are_drawn_apart():
    """Heads side by side start from weights of their own."""
    said = ClusterHeads(4, 3, 2, hidden=5, random=torch_generator(0, "x"))(torch.ones(6, 4))
    assert said.shape == (2, 6, 3)
    assert not torch.equal(said[0], said[1])


def test_views_that_change_nothing():
    """Without any variation the pictures stay."""
    images = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(varied(images, Views(), generator=torch.Generator().manual_seed(0)), images)


@pytest.mark.parametrize("name", ["CROPPED", "WEAK", "COLOURED", "CONTRASTED", "STRONG", "TURNED"])
def test_views_are_pictures_and_follow_the_generator(name):
    """Values stay in [0, 1]; the same generator draws the same views, another others."""
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, same, other = (
        varied(images, getattr(deep_views, name), generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert one.shape == images.shape
    assert float(one.min()) >= 0
    assert float(one.max()) <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_crop_is_a_part_of_the_picture():
    """Of a picture that gets brighter to the right, a crop is a stretch; mirrored it gets darker."""
    ramp = torch.linspace(0, 1, 64).expand(16, 3, 64, 64)
    cropped = varied(ramp, Views(area=0.3), generator=torch.Generator().manual_seed(0))
    slopes = cropped[:, 0, 32].diff(dim=1)[:, 2:-2]
    assert (slopes > 0).all()
    assert (slopes.mean(dim=1) < 1.001 / 63).all()
    assert slopes.mean() < 0.9 / 63
    mirrored = varied(ramp, Views(mirror=True), generator=torch.Generator().manual_seed(0))
    rising = mirrored[:, 0, 32, 60] > mirrored[:, 0, 32, 3]
    assert 0 < int(rising.sum()) < 16


def test_hues_turn_and_brightness_stays():
    """Colours change, grey pictures do not."""
    turn = Views(hue=0.2)
    grey = torch.full((2, 3, 4, 4), 0.5)
    torch.testing.assert_close(varied(grey, turn, generator=torch.Generator().manual_seed(0)), grey, atol=2e-3, rtol=0)
    red = torch.tensor([0.6, 0.4, 0.4]).reshape(1, 3, 1, 1).expand(2, 3, 4, 4)
    assert (varied(red, turn, generator=torch.Generator().manual_seed(0)) - red).abs().max() > 0.01


def test_a_plan_grows_with_images_and_epochs():
    """Twice as many images take twice as long; the memory of a step does not grow beyond a batch."""
    settings = SMALL[IIC]
    found = Probe(32, 1.0, (2.0,), step_bytes=100 << 20, step_images=32, state_bytes=1 << 20, feature_bytes=0)
    small, large = (planned("IIC", found, settings, n_images=n) for n in (320, 640))
    assert small.seconds == pytest.approx((1 + 20 * 2) * 10)
    assert large.seconds == pytest.approx(2 * small.seconds)
    parts = [plan.memory.parts["a training step"] for plan in (small, large)]
    assert parts[0] == parts[1] == 2 * (100 << 20) * 64 // 32
    with pytest.raises(ResourceError, match="stage train IIC needs"):
        large.memory.check(100 << 20)


def test_the_published_size_of_iic_is_that_of_its_program():
    """140 images in 5 pairs each are the 700 pairs of a step; it is planned from one pair each of a few images."""
    settings = PUBLISHED[IIC]
    assert (settings.batch, settings.repeats) == (140, 5)
    found = Probe(12, 1.0, (2.0,), step_bytes=12 << 20, step_images=12, state_bytes=1 << 20, feature_bytes=0)
    plan = planned("IIC", found, settings, n_images=1200)
    assert plan.memory.parts["a training step"] == 2 * (5 * 140 << 20)
    assert plan.seconds == pytest.approx((1 + 2000 * 5 * 2) * 100)


def test_a_probe_counts_what_a_step_keeps():
    """Bytes of activations of a step, within what the layers' outputs sum up to; weights with their buffers."""
    settings = replace(SMALL[IIC], widths=(4, 4, 4), batch=32)
    found = probe(IIC, n_clusters=2, settings=settings, seed=0)
    outputs = 4 * 4 * (3 * 110**2 + 3 * 51**2 + 3 * 21**2)  # nearly all of it: maps of 4 channels, 4 bytes a value
    views = 2 * found.step_images
    assert outputs * views < found.step_bytes < 6 * outputs * views
    assert len(found.epoch_seconds) == 1
    assert min(found.epoch_seconds) > 0
    assert found.state_bytes > 4 * 9 * 4 * 4 * 8


def test_the_best_epoch_is_an_oracle():
    """The last epoch counts; the best one is chosen by accuracy, with its number."""
    labels = ["good", "good", "hole", "hole"]
    clusters = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    last, best = deep_rows(clusters, labels, method="SCAN", protocol=SOHN, extra={"seconds": 3.0})
    assert (last.clustering, best.clustering) == (LAST, BEST)
    assert (last.scores["epoch"], best.scores["epoch"]) == (3, 2)
    assert (last.scores["nmi"], best.scores["nmi"]) == (0, 1)
    assert best.scores["seconds"] == 3
    accurate, weighted = [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 1, 1]
    rows = deep_rows(np.array([weighted, accurate]), list("aaaaabbc"), method="SCAN", protocol=SOHN, extra={})
    assert rows[1].scores["f1_micro"] == max(row.scores["f1_micro"] for row in rows)
    with pytest.raises(ArrayContractError, match="a label for each of 4 images; found 3"):
        deep_rows(clusters, labels[:3], method="SCAN", protocol=SOHN, extra={})
