"""study/progress: which quizzes were answered on a page, when, and how. One small file in the user's data folder.

In: a graded reply; the folder of the notebooks. Out: a line of that file; a score per lesson. Lines are only added,
each in one write, so two notebooks may answer at once; one that cannot be read is passed over.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from trtlab.study.curriculum import lessons_in

ASKED = re.compile(r"""\bquiz\(["']([\w-]+)""")


def where() -> Path:
    """progress.jsonl in TRTLAB_DATA, else in the user's data folder. Delete it to begin again."""
    home = os.environ.get("XDG_DATA_HOME") or os.environ.get("LOCALAPPDATA") or Path("~/.local/share").expanduser()
    return Path(os.environ.get("TRTLAB_DATA") or Path(home) / "trtlab") / "progress.jsonl"


def keep(quiz: str, right: bool) -> None:
    """Note a reply. A disk that takes no line is no reason to disturb a learner."""
    line = json.dumps({"quiz": quiz, "right": right, "when": datetime.now(UTC).isoformat(timespec="seconds")})
    with contextlib.suppress(OSError):
        where().parent.mkdir(parents=True, exist_ok=True)
        with where().open("ab", buffering=0) as file:
            file.write(f"\n{line}\n".encode())  # after half a line, too, it stands alone


def scores(folder: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """For each notebook in `folder` that asks: its name, its quizzes, how many were answered, were right at last, and
    right at the first try."""
    known: dict[str, list[bool]] = {}
    with contextlib.suppress(OSError):
        for line in where().read_text("utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, LookupError, TypeError):
                reply = json.loads(line)
                known.setdefault(str(reply["quiz"]), []).append(reply["right"] is True)
    for lesson in lessons_in(folder):
        cells = json.loads((folder / f"{lesson.name}.ipynb").read_text("utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        if asked := set(ASKED.findall(code)):
            tried = [known[name] for name in asked if name in known]
            yield lesson.name, len(asked), len(tried), sum(map(any, tried)), sum(replies[0] for replies in tried)
