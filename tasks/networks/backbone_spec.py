"""Backbone cards: what a backbone's name resolves to, kept so that keys can be made before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from anoclust_core.config import RunConfig
from anoclust_core.embedding.tiles import check_tiles, tiled_spec
from anoclust_core.errors import DamagedError
from anoclust_core.keys import content_key
from anoclust_core.records import EmbeddingSpec
from tasks.networks.checkpoints import checkpoint_identity
from tasks.stores.files import read_checked, told_as_damage, with_digest, write_json
from tasks.stores.layout import StoreLayout
from tasks.stores.stage_keys import STAGES
from tasks.stores.upkeep.recover import clear_place


def embedding_spec(store: StoreLayout, config: RunConfig) -> EmbeddingSpec:
    """Resolve a run's backbone, from its card or, the first time, from timm.

    Tiles that depend on a category's frames are not known yet: `flows.decoding` adds them.

    Raises
    ------
    ConfigError
        If timm does not know the backbone, layers, size or checkpoint do not fit, or the recipe takes no tiles.
    """
    check_tiles(config)  # also where a category's or a table's own recipe has taken the place of the one asked for
    return tiled_spec(_backbone_card(store, config).resized_by(config.embed.resize), config.embed, None)


def has_card(store: StoreLayout, config: RunConfig) -> bool:
    """Whether a run's backbone was resolved before, so that `embedding_spec` imports neither timm nor torch.

    Raises
    ------
    ConfigError
        If the checkpoint is no file.
    """
    return _card_path(store, config).exists()


def _card_path(store: StoreLayout, config: RunConfig) -> Path:
    """Where the card of a run's backbone is kept, or would be."""
    checkpoint = checkpoint_identity(config.embed.backbone, config.embed.checkpoint)
    asked = {
        "backbone": config.embed.backbone,
        "weights": checkpoint,
        "layers": list(config.embed.layers) if config.embed.layers else None,
        "image_size": config.image_size,
        "version": STAGES["embed"].version,
        "timm": version("timm"),  # another version may resolve a name to other weights or other preprocessing
    }
    if config.recipe == "blind":
        asked["as_maps"] = True
    if config.recipe == "auto":
        asked["in_levels"] = True
    if config.embed.precision != "float32":
        asked["precision"] = config.embed.precision
    return store.backbone(content_key("backbone", asked))


def _backbone_card(store: StoreLayout, config: RunConfig) -> EmbeddingSpec:
    """Spec of whole pictures."""
    path = _card_path(store, config)
    try:
        return read_card(path)
    except (OSError, DamagedError):
        pass  # no card yet, or one that is damaged or of another version: it is made again
    from anoclust_core.embedding.backbones import describe

    spec = describe(
        config.embed.backbone,
        weights=checkpoint_identity(config.embed.backbone, config.embed.checkpoint),
        layers=config.embed.layers,
        image_size=config.image_size,
        as_maps=config.recipe == "blind",
        in_levels=config.recipe == "auto",
        precision=config.embed.precision,
    )
    clear_place(store, path)
    write_json(path, with_digest(asdict(spec)))
    return spec


def read_card(path: Path) -> EmbeddingSpec:
    """Read a card.

    Raises
    ------
    OSError
        If there is none, or it cannot be read.
    DamagedError
        If it is not what was written.
    """
    card = read_checked(path)
    with told_as_damage(path):
        deeper = card.pop("deeper", None)
        return replace(_spec(card), deeper=_spec({**deeper, "deeper": None}) if deeper else None)


def _spec(card: Mapping[str, object]) -> EmbeddingSpec:
    return EmbeddingSpec(**{name: tuple(v) if isinstance(v, list) else v for name, v in card.items()})  # type: ignore[arg-type]


def last_layer_spec(store: StoreLayout, config: RunConfig) -> EmbeddingSpec:
    """Resolve a run's backbone with the last of its layers, the patches of [SOHN23] Table 4.

    Raises
    ------
    ConfigError
        As `embedding_spec`.
    """
    from anoclust_core.embedding.backbones import last_layer

    deepest = (last_layer(config.embed.backbone, config.image_size),)
    embed = config.embed.model_copy(update={"layers": deepest})
    return embedding_spec(store, config.model_copy(update={"embed": embed}))
