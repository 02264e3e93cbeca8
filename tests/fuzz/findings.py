"""What was found wrong: files that hold all it takes to try it again."""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.attempt import Attempt

FORMAT = 1
"""Version of the files."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    Attributes:
        what: a word for it.
        said: a sentence for it.
        seed: of the run.
        attempts: what was sent: the one that it followed, or all that were under way.
    """

    what: str
    said: str
    seed: str
    attempts: tuple[Attempt, ...]

    @property
    def likeness(self) -> tuple[str, str, str]:
        """What findings of one cause have in common, as far as can be told."""
        target = self.attempts[0].target if len(self.attempts) == 1 else ""
        return self.what, re.sub(r"\d+", "0", self.said), target

    def write(self, folder: Path) -> Path:
        """A file of it in the folder; its path."""
        folder.mkdir(parents=True, exist_ok=True)
        last = self.attempts[-1] if self.attempts else Attempt("none", 0, (), False)
        path = (
            folder / f"{self.seed}-{last.target}-{last.number}-{self.what.replace(' ', '-')}.json"
        )
        attempts = [
            {
                "target": attempt.target,
                "number": attempt.number,
                "is_whole": attempt.is_whole,
                "pieces": [b64encode(piece).decode() for piece in attempt.pieces],
            }
            for attempt in self.attempts
        ]
        content = {"format": FORMAT, "what": self.what, "said": self.said, "seed": self.seed}
        path.write_text(json.dumps({**content, "attempts": attempts}, indent=1), "utf-8")
        return path


def read_attempts(path: Path) -> Sequence[Attempt]:
    """What a file of a finding holds to be sent again.

    Raises:
        ValueError: it is no such file.
    """
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is no file of a finding")
    return [
        Attempt(
            entry["target"],
            entry["number"],
            tuple(b64decode(piece) for piece in entry["pieces"]),
            entry["is_whole"],
        )
        for entry in content["attempts"]
    ]
