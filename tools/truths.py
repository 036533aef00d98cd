"""What only a compiler tells, recorded for machines where none can be installed: `python -m tools.truths`."""

from dataclasses import asdict

from trtlab.engine import recordings
from trtlab.study.truths import fusion, planning, precision, workflow
from trtlab.study.witnesses import RECORDED

COMMAND = "python -m tools.truths"
FINDS = (
    workflow.build_without_profile,
    workflow.two_targets,
    workflow.workspace_limits,
    fusion.training_dropout,
    precision.mixed_types,
    planning.memory_of_chains,
    planning.memory_with_auxiliary_streams,
)

if __name__ == "__main__":
    found = {find.__name__: find() for find in FINDS}
    plain = {name: asdict(one) | {"provenance": one.provenance} for name, one in found.items()}
    recordings.save(plain, RECORDED, COMMAND)
