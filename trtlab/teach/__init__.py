"""teach: the only room that draws. May use every other room; nothing but cli.py may import it.

In: frozen values from the other rooms. Out: cards, tables and figures for a notebook, each with a plain-text form for
places that show no HTML, and with its provenance printed on it. Names open their module when they are first used.
"""

import importlib
from typing import Any

_NAMES_IN = {
    "apicards": "draw_calls draw_refusal draw_rows",
    "bits": "BitEditor",
    "diagrams": "draw_diagram",
    "tables": "draw_comparison draw_configuration draw_engine draw_error draw_layers draw_manifest draw_onnx"
    " draw_outputs draw_plan_file draw_scans draw_stage draw_workflow",
    "claimcard": "ClaimFailed claim draw_claims",
    "charts": "draw_predictions draw_waterfall",
    "formats": "draw_codes draw_formats draw_value",
    "formatcharts": "draw_density draw_number_line draw_precision draw_spread draw_staircase draw_sums",
    "enginefigures": "draw_engine_life draw_enqueue draw_kernels draw_lives",
    "fusion": "draw_agreement draw_optimizers",
    "fusionfigures": "draw_fusion_bandwidth draw_fusion_chains draw_fusion_findings draw_fusion_times"
    " draw_fusion_traffic",
    "graph.view": "GraphView",
    "machine": "draw_badges draw_machine draw_map",
    "pipeline": "PipelineView draw_artefact",
    "quantfigures": "draw_block draw_curves draw_levels draw_sqnr draw_tradeoff",
    "quantview": "QuantView",
    "quizcard": "QuizCard quiz",
    "saycard": "say",
    "stepper": "RewriteStepper",
    "supportcard": "draw_support",
}
_HOME_OF = {name: f"trtlab.teach.{module}" for module, names in _NAMES_IN.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"trtlab.teach has no name {name!r}; it has {', '.join(_HOME_OF)}")


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
