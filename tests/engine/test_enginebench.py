"""engine/enginebench: the targets of the engine, live against ONNX Runtime and as recorded on a GPU."""

from trtlab.engine import enginebench
from trtlab.engine.measure import Origin


def test_every_target_is_measured(monkeypatch):
    monkeypatch.setattr(enginebench, "BOUNDS", {"digits": 9.0})
    live, *recorded = enginebench.bench_glassbox(rounds=2)
    assert live.value > 0
    assert (live.what, live.target, live.provenance.origin) == ("digits latency", "<= 9x", Origin.LIVE)
    assert [r.what for r in recorded] == ["resnet18 FP16, kernels", "light_resnet50 FP16, kernels"]
    assert {(r.unit, r.met, r.provenance.origin) for r in recorded} == {("us", True, Origin.RECORDED)}
