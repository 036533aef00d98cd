"""engine/glassbox: a plan runs in a process that has numpy and torch, and nothing else of what builds it."""

import subprocess
import sys

import numpy as np
import pytest

from trtlab.engine import glassbox
from trtlab.engine.export import export_onnx
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
feeds = dict(np.load(sys.argv[3]))
engine = glassbox.load(sys.argv[2])
np.savez(sys.argv[4], **engine.create_execution_context().run(feeds))
print(",".join(sorted(set(k.tactic for k in engine.inspect()))))
print(*sorted(m for m in sys.modules if m.split(".")[0] == "trtlab"))
strangers = {m.split(".")[0] for m in sys.modules} & BLOCKED
assert not strangers, strangers
"""
BUILDERS = (
    "onnx,onnx_ir,onnxruntime,onnxscript,google,tensorrt,tensorrt_rtx,ml_dtypes,cattrs,sklearn,plotly,ipywidgets,yaml"
)
MOST_MODULES = 20


@pytest.mark.parametrize(("name", "blocked"), [("digits", BUILDERS), ("transformer", f"{BUILDERS},numba")])
def test_a_plan_runs_where_only_numpy_and_torch_are(name, blocked, tmp_path):
    engine = glassbox.build(export_onnx(name), pick=prefer("generated"))
    assert "generated" in {k.tactic for k in engine.inspect()}
    feeds = {n: np.random.default_rng(0).standard_normal(s.shape).astype(s.dtype) for n, s in engine.inputs.items()}
    want = engine.create_execution_context().run(feeds)
    engine.save(tmp_path / "plan")
    np.savez(tmp_path / "feeds.npz", **feeds)
    command = [sys.executable, "-c", SCRIPT, blocked, tmp_path / "plan", tmp_path / "feeds.npz", tmp_path / "out.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tactics, modules = (line.replace(",", " ").split() for line in done.stdout.splitlines())
    assert ("generated" in tactics) == ("numba" not in blocked)
    assert len(modules) <= MOST_MODULES
    assert not [m for m in modules if m.split(".")[:3] == ["trtlab", "engine", "nvidia"]]
    for key, value in np.load(tmp_path / "out.npz").items():
        np.testing.assert_allclose(value, want[key], rtol=0, atol=1e-6 * np.abs(want[key]).max())
