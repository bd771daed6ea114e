"""``python -m flows.cli`` is the command where nothing is installed."""

from flows.cli import main

main()
