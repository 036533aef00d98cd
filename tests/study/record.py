"""What only a compiler tells, recorded for machines where none can be installed: `python -m tests.study.record`."""

from dataclasses import asdict

from trtlab.engine import recordings
from trtlab.study.truths import builds, memory

COMMAND = "python -m tests.study.record"
FINDS = (
    builds.build_without_profile,
    builds.two_targets,
    builds.workspace_limits,
    builds.training_dropout,
    builds.mixed_types,
    memory.memory_of_chains,
    memory.memory_with_auxiliary_streams,
)

if __name__ == "__main__":
    found = {find.__name__: find() for find in FINDS}
    plain = {name: asdict(one) | {"provenance": one.provenance} for name, one in found.items()}
    recordings.save(plain, builds.RECORDED, COMMAND)
