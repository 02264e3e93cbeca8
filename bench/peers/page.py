"""`python -m bench.peers.page [RESULT.json]`: the last result as Markdown."""

import sys
from pathlib import Path

from bench.peers.result import from_json, markdown

LATEST = Path(__file__).parents[1] / "latest-peers.json"


def main() -> None:
    """Print the table and its notes."""
    file = Path(sys.argv[1]) if sys.argv[1:] else LATEST
    print(markdown(from_json(file.read_bytes())), end="")


if __name__ == "__main__":
    main()
