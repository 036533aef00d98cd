"""lab/history: which names NVIDIA's public headers declared, release by release.

In: the recording `api-history`, made once from a clone of github.com/NVIDIA/TensorRT by tools/headers.py. Out: a
frozen `ApiHistory`, read by claims that say "gone since 10.0". tests/lab/test_history.py knows release notes.
"""

import enum
from dataclasses import dataclass

from trtlab.engine import recordings
from trtlab.engine.measure import Provenance


class Declared(enum.Enum):
    """How a header stands to a name."""

    YES = "declared"
    DEPRECATED = "deprecated"
    NO = "absent"


@dataclass(frozen=True, kw_only=True)
class ApiHistory:
    """`names[name][tag]` and `headers[tag]`, oldest tag first."""

    tags: tuple[str, ...]
    names: dict[str, dict[str, Declared]]
    headers: dict[str, tuple[str, ...]]
    provenance: Provenance

    def state(self, name: str, tag: str) -> Declared:
        """KeyError names what was recorded when `name` or `tag` was not."""
        if name not in self.names or tag not in self.tags:
            raise KeyError(
                f"{name!r} at {tag!r} was not recorded; names: {', '.join(self.names)}; tags: {', '.join(self.tags)}"
            )
        return self.names[name][tag]


def load() -> ApiHistory:
    """The recorded history."""
    return recordings.load(ApiHistory, "api-history")
