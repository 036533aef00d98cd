"""At the end of a run: what was proved of every rule, by running models before and after it."""

from trtlab.graph.rules import RULES

from .written import PROOFS


def pytest_terminal_summary(terminalreporter):
    if not PROOFS:
        return
    terminalreporter.section("rewrite rules: models before and after, by the reference evaluator or ONNX Runtime")
    terminalreporter.write_line(f"{'rule':<24}{'models':>8}{'steps':>8}{'tensors':>9}   largest relative difference")
    for name in RULES:
        if proof := PROOFS.get(name):
            line = f"{name:<24}{proof.models:>8}{proof.steps:>8}{proof.tensors:>9}   {proof.worst:.1e}"
            terminalreporter.write_line(line)
