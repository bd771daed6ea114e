"""What every setting means and takes, in words: one source for ``--help``, error messages and the commented file.

Plain text without pydantic behind it, so that ``--help`` starts quickly.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

SETTING_TEXTS: Final = MappingProxyType(
    {
        "recipe": "Method: `sohn` compares the patches of all images; `blind` makes an anomaly map from each image "
        "alone and trains a contrastive head; `auto` takes the best known, now `sohn`.",
        "seed": "Seed of every random draw, such as which images form the reference.",
        "memory": "Memory that one stage may use, as in `8GiB`; `auto` is 80 % of what is free when the run starts.",
        "wait_seconds": "Wait this long if another run of the same category is going on; 0 does not wait.",
        "data.normals": "Known normal images to measure rarity against. `auto` uses split train, label good, if there "
        "is one; `none` ignores split train and runs blind; or name a folder of normal images.",
        "data.splits": "`test` clusters split test, if there are splits; `all` clusters every image.",
        "data.settle_seconds": "Files changed less than this many seconds ago may still be being written; they wait "
        "for the next run. If too few other files remain, the command waits for them once.",
        "data.max_bad_share": "Fail the run when more than this share of the files is unusable, from 0 to 1.",
        "data.trust_times": "`true`: a file whose size and times have not changed since an earlier run counts as "
        "unchanged. `false`: read every file again, for a file system without reliable times.",
        "embed.backbone": "Feature extractor: `efficientnet_lite2` is installed with Anoclust; the papers use "
        "`wide_resnet50_2`; or any timm model that gives feature maps. timm downloads what is not cached.",
        "embed.checkpoint": "File with weights for the backbone (.safetensors, or .pth with tensors only); `none` "
        "uses the backbone's own.",
        "embed.layers": "Feature levels, numbered as in timm, joined on the finest grid (`2,3`); `auto` is the "
        "backbone's usual choice.",
        "embed.image_size": "Resize every image to a square of this many pixels a side; `auto` is 256, or 512 for "
        "recipe `blind`.",
        "embed.device": "Where networks run and images are compared: `cpu`, `cuda` or `cuda:INDEX`; `auto` uses a GPU "
        "if there is one; every Dask worker uses its own.",
        "embed.precision": "Number format of the network: `float32`; or `bf16`, which is faster if the GPU or CPU has "
        "it built in. Its features differ, so every image is embedded again.",
        "embed.engine": "Library that runs the network on a CPU: `torch`; `openvino`, faster once the network is "
        "converted; `auto` picks `openvino` if that pays off. The features are the same; a GPU always uses `torch`.",
        "pair.reference": "Measure rarity against this many images, drawn at random (equation 7); `auto` takes all "
        "images if their distances fit `pair.store_budget`.",
        "pair.store_budget": "Largest size on disk of a run's nearest distances, as in `2GiB`.",
        "pair.dask": "Address of a Dask scheduler (`tcp://host:8786`) whose workers can read and write the store; "
        "`none` computes in this process.",
        "weigh.weights": "How patches are weighted: by `rarity`; `uniform`, all the same; or `maps:FOLDER`, by "
        "anomaly maps of any detector, larger where more anomalous, as `FOLDER/CATEGORY/IMAGE.npy` (or .tiff, grey "
        ".png). With maps, no images are compared.",
        "weigh.tau": "Temperature of the weights: a small one looks only at the rarest patch, a large one at all "
        "patches alike. A number in embedding units (`0.02`) or in standard deviations of the rarity (`0.3sd`).",
        "blind.variant": "Recipe `blind`: `program` follows the authors' published program, `paper` their text, which "
        "trains eight times as long.",
        "blind.vae": "Recipe `blind`: look for anomalies in what a VAE cannot reconstruct (`true`), or in the "
        "features themselves, without training (`false`).",
        "blind.contrastive": "Recipe `blind`: train a head that separates the kinds of anomalies (`true`), or pool "
        "the features as they are (`false`).",
        "blind.threshold": "Recipe `blind`: how to decide which cells are anomalous: `robust` or `otsu` without "
        "labels; `kmeans-quantile` as published, which needs the number of classes.",
        "blind.flat_field": "Recipe `blind`: subtract from the maps what is usual at each place over all images "
        "(`true`), or leave them as published (`false`).",
        "blind.border": "Recipe `blind`: part of each side to ignore, from 0 to 0.5. The published program ignores "
        "0.078, and so misses every defect at an edge.",
        "group.distance": "Distance between images: `weighted_average` of their patches, or a Hausdorff distance of "
        "the paper's appendix C (`max_min_max` is the classical one, `mean_min_max` the modified one; `mean_mean`, "
        "`max_min_mean`, `min_min`, `mean_min_mean`).",
        "group.linkage": "How clusters are merged: `ward`, `average`, `complete` or `single`.",
        "group.n_clusters": "Number of clusters. `auto`: the number of classes if every image has a label (the "
        "papers' protocol), otherwise cut where the merge tree has its largest step.",
        "night.timezone": "Time zone of the nights, such as `Europe/Berlin`.",
        "night.day_starts": "Time of day at which a night begins: with `06:00`, an image taken at 05:59 belongs to "
        "the night before. A night is named after the date on which it begins.",
        "night.captured": "How to tell when an image was taken, tried in this order, separated by commas: "
        "`path:%Y-%m-%d/*_%H%M%S`, `column:NAME` of a manifest, `exif`, `file` (when the file was last changed).",
        "night.recluster_every": "Re-cluster everything after this many nights, if there are new images; `none` never "
        "does.",
        "night.recluster_unknown": "Re-cluster everything when more than this share of the images since the last "
        "clustering is unknown, from 0 to 1.",
        "night.catalog": "Database of images, nights and clusters: `auto` is the file `catalog.sqlite` in the store; "
        "or a URL such as `postgresql://user@host/name`.",
    }
)
"""From a setting's dotted name to its meaning; a test holds the names to those of ``RunConfig``."""

SETTING_VALUES: Final = MappingProxyType(
    {
        "recipe": "auto, sohn or blind",
        "seed": "a whole number from 0",
        "memory": "auto or a size such as 8GiB",
        "wait_seconds": "a number of seconds from 0",
        "data.normals": "auto, none or a folder of normal images",
        "data.splits": "test or all",
        "data.settle_seconds": "a number of seconds from 0",
        "data.max_bad_share": "a share from 0 to 1",
        "data.trust_times": "true or false",
        "embed.backbone": "the name of a timm model",
        "embed.checkpoint": "none or a file with weights",
        "embed.layers": "auto or numbers of feature levels separated by commas (2,3)",
        "embed.image_size": "auto or a whole number of pixels from 32 to 4096",
        "embed.device": "auto, cpu, cuda or cuda:INDEX",
        "embed.precision": "float32 or bf16",
        "embed.engine": "auto, torch or openvino",
        "pair.reference": "auto or a whole number from 1",
        "pair.store_budget": "a size such as 2GiB",
        "pair.dask": "none or an address such as tcp://host:8786",
        "weigh.weights": "rarity, uniform or maps:FOLDER",
        "weigh.tau": "a positive number in embedding units (0.02) or in standard deviations of the rarity (0.3sd)",
        "blind.variant": "program or paper",
        "blind.vae": "true or false",
        "blind.contrastive": "true or false",
        "blind.threshold": "robust, otsu or kmeans-quantile",
        "blind.flat_field": "true or false",
        "blind.border": "a part from 0 to below 0.5",
        "group.distance": "weighted_average, mean_mean, max_min_max, max_min_mean, min_min, mean_min_max or "
        "mean_min_mean",
        "group.linkage": "ward, average, complete or single",
        "group.n_clusters": "auto or a whole number from 1",
        "night.timezone": "the name of a time zone such as Europe/Berlin or UTC",
        "night.day_starts": "a time of day such as 06:00",
        "night.captured": "path:PATTERN, column:NAME, exif or file, several separated by commas",
        "night.recluster_every": "none or a whole number from 1",
        "night.recluster_unknown": "a share from 0 to 1",
        "night.catalog": "auto or a URL such as postgresql://user@host/name",
    }
)
"""From a setting's dotted name to what it takes, as in "--seed takes ..."."""
