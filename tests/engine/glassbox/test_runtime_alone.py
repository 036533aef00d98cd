"""engine/glassbox: a plan runs in a process that has numpy and torch, and nothing else of what builds it."""

import subprocess
import sys

import numpy as np
import pytest

from tests.engine.glassbox.referee import assert_same, feeds_for
from trtlab.engine import glassbox
from trtlab.graph.models import TEACHING_MODELS
from trtlab.plan.tactics import prefer

SCRIPT = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"blocked: {name}", name=name)
BLOCKED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Wall())
import numpy as np
from trtlab.engine import glassbox
engine = glassbox.load(sys.argv[2])
np.savez(sys.argv[4], **engine.create_execution_context().run(dict(np.load(sys.argv[3]))))
print(",".join(sorted(set(k.tactic for k in engine.inspect()))))
print(*sorted(m for m in sys.modules if m.split(".")[0] == "trtlab"))
strangers = {m.split(".")[0] for m in sys.modules} & BLOCKED
assert not strangers, strangers
"""
BUILDERS = (
    "onnx,onnx_ir,onnxruntime,onnxscript,google,tensorrt,tensorrt_rtx,ml_dtypes,cattrs,sklearn,plotly,ipywidgets,yaml"
)


@pytest.mark.parametrize("blocked", [BUILDERS, f"{BUILDERS},numba"])
def test_a_plan_runs_where_only_numpy_and_torch_are(blocked, tmp_path):
    """In at most 20 modules of ours, none of NVIDIA's side. Without numba other tactics compute the same."""
    engine = glassbox.build(TEACHING_MODELS["attention"](), pick=prefer("generated"))
    assert "generated" in {k.tactic for k in engine.inspect()}
    feeds, (plan, fed, out) = feeds_for(engine), (tmp_path / n for n in ("plan", "feeds.npz", "out.npz"))
    engine.save(plan)
    np.savez(fed, **feeds)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, blocked, plan, fed, out], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    tactics, modules = (line.replace(",", " ").split() for line in done.stdout.splitlines())
    assert ("generated" in tactics) == ("numba" not in blocked)
    assert len(modules) <= 20
    assert not [m for m in modules if m.startswith("trtlab.engine.nvidia")]
    assert_same(dict(np.load(out)), engine.create_execution_context().run(feeds), rtol=1e-6)
