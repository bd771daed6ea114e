"""What the commands about clusters share: who decides about which images and clusters, and on what they were seen."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Final

import typer

from anoclust_core.errors import ConfigError
from anoclust_core.wording import counted
from flows.cli.asked import Asked

if TYPE_CHECKING:
    from tasks.stores.catalog.catalog import Catalog
    from tasks.stores.catalog.facts import ImageFact

_HASH_START: Final = 6
"""Fewest characters of a sha256 that name an image: fewer may be part of a path that is written wrongly."""

_SHOWN_HASH: Final = 12
"""Characters of a sha256 that tell images apart in a message."""

_SHOWN_IMAGES: Final = 5
"""Most images of one path that a message lists."""

Category = Annotated[str, typer.Argument(help="Name of the product.", show_default=False)]
Named = Annotated[str, typer.Argument(help="Cluster, by identity (c7) or name.", show_default=False)]
By = Annotated[
    str | None, typer.Option("--by", help="Who decides, as the history shows it.", show_default="your user name")
]
Expected = Annotated[
    list[str] | None,
    typer.Option(
        "--expected",
        metavar="CLUSTER=VERSION",
        help="Refuse if this cluster has changed since you saw it; `clusters show` prints the version. Repeatable.",
    ),
]
Images = Annotated[
    list[str],
    typer.Argument(
        help=f"Images, by path or by the start of their sha256, at least {_HASH_START} characters; @FILE reads them "
        "from a file, one per line.",
        show_default=False,
    ),
]


@contextmanager
def catalog_with(asked: Asked, category: str) -> Iterator[Catalog]:
    """Open the catalog of a store that has the category."""
    from flows.nights.status import catalog_of, known_category
    from tasks.stores.catalog.catalog import Catalog
    from tasks.stores.layout import existing_store

    settings = asked.settings()
    layout = existing_store(settings.store)
    with Catalog.open(catalog_of(layout, settings.config), store=layout, create=False) as catalog:
        known_category(catalog, category)
        yield catalog


def contents_of(catalog: Catalog, category: str, named: list[str]) -> list[str]:
    """Content hashes of images that a person names.

    Raises
    ------
    ConfigError
        If there is no such image, or more than one: nights may bring another image under the same path.
    """
    from tasks.images.folders import one_line

    names = [name for given in named for name in (_listed(given[1:]) if given.startswith("@") else [given])]
    images = catalog.images(category)
    by_path: dict[str, list[ImageFact]] = {}
    for image in images:
        by_path.setdefault(image.path, []).append(image)
    found, wrong = [], []
    for name in names:
        path = name if name in by_path else name.replace("\\", "/")
        if path in by_path:
            matches = [image for image in by_path[path] if image.quarantined is None] or by_path[path]
        else:
            matches = [image for image in images if len(name) >= _HASH_START and image.content.startswith(name)]
        if len(matches) == 1:
            found.append(matches[0].content)
        else:
            wrong.append((name, matches))
    if wrong:
        first, matches = wrong[0]
        others = (
            f", and {len(wrong) - 1:,} more of the {len(names):,} names match no image or several" if wrong[1:] else ""
        )
        advice = _what_to_name(matches, category)
        raise ConfigError(f"{len(matches)} images of {category} are named {one_line(first)}{others}; {advice}")
    return list(dict.fromkeys(found))


def _what_to_name(matches: list[ImageFact], category: str) -> str:
    """What to give in place of a name that several images have, or none."""
    if not matches:
        return (
            f"`anoclust clusters show {quote(category)} CLUSTER` lists paths; of a sha256 give at least the first "
            f"{_HASH_START} characters"
        )
    newest = sorted(matches, key=lambda image: image.night, reverse=True)
    told = [f"{image.content[:_SHOWN_HASH]} of night {image.night}" for image in newest[:_SHOWN_IMAGES]]
    more = f", ... (`anoclust export clusters {quote(category)}` has all)" if len(newest) > len(told) else ""
    return f"give the start of the sha256 of the one that you mean: {', '.join(told)}{more}"


def _listed(file: str) -> list[str]:
    """Names in a text file, one per line.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    from tasks.images.manifests.texts import read_given_text
    from tasks.stores.addresses import on_this_machine

    try:
        lines = read_given_text(on_this_machine(file, "@FILE", ConfigError)).lines
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"@{file} is not a list of images, one per line: {why}; check its path, and save it as UTF-8"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def person(given: str | None) -> str:
    """Who decides: the name that was given, or the login name."""
    try:
        return given or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "somebody"


def versions_of(given: list[str] | None) -> dict[str, int]:
    """Versions of clusters as a person saw them.

    Raises
    ------
    ConfigError
        If one is not written as c7=41.
    """
    found = {}
    for one in given or ():
        cluster, _, version = one.rpartition("=")
        if not cluster or not version.isdecimal():
            raise ConfigError(
                f"--expected takes a cluster and its version, such as c7=41; found {one!r}; `anoclust clusters show` "
                "prints the version"
            )
        found[cluster] = int(version)
    return found


def decided_about(catalog: Catalog, category: str, contents: list[str]) -> str:
    """So many images, or parts: of views of one part, the one that stands for it is decided about."""
    views = catalog.views(category)
    return counted(len({views.get(content, content) for content in contents}), "part" if views else "image")


def told_done(what: str, more: str = "") -> None:
    """Say what was decided and how it is undone."""
    typer.echo(f"{what}; `anoclust clusters undo` undoes it{more}")
