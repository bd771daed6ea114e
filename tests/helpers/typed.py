"""Commands on the store of a stream of nights, as a person types them."""

from __future__ import annotations

import json

from typer.testing import CliRunner, Result

from flows.cli import app
from helpers.streams import Stream


class Typed:
    """Commands on the store of a stream, with its settings.

    Parameters
    ----------
    stream
        Where.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        checkpoint = stream.config.embed.checkpoint
        catalog = stream.config.night.catalog or "auto"
        self._file = stream.root / "anoclust.toml"
        self._file.write_text(
            f'store = "{stream.store}"\n[embed]\nbackbone = "test_resnet"\ncheckpoint = "{checkpoint}"\n'
            'image_size = 64\ndevice = "cpu"\n[data]\nsettle_seconds = 0\n[night]\n'
            f'captured = "path:%Y-%m-%d"\nrecluster_every = "none"\ncatalog = "{catalog}"\n'
        )

    def __call__(self, *arguments: object) -> Result:
        words = [*map(str, arguments), "--config", str(self._file)]
        return CliRunner().invoke(app, words, env={"COLUMNS": "200"})

    def json(self, *arguments: object) -> list[dict[str, object]]:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        found: list[dict[str, object]] = json.loads(result.stdout)
        return found
