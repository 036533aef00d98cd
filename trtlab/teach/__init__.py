"""teach: the only room that draws. May use every other room; nothing but cli.py may import it.

In: frozen values from the other rooms. Out: cards, tables and figures for a notebook, each with a plain-text form for
places that show no HTML, and with its provenance printed on it. Names open their module when they are first used.
"""

import importlib
from typing import Any

_NAMES_IN = {
    "bits": "BitEditor",
    "claimcard": "ClaimFailed claim draw_claims",
    "cover": "guess",
    "engines": "NoiseView draw_engine_life draw_enqueue draw_kernels draw_lives draw_race draw_waterfall",
    "formats": "draw_block draw_codes draw_curves draw_density draw_formats draw_levels draw_number_line draw_precision"
    " draw_spread draw_sqnr draw_staircase draw_sums draw_tradeoff draw_value",
    "door": "draw_build draw_diagram draw_door draw_flips draw_map",
    "fusion": "draw_agreement draw_fusion_bandwidth draw_fusion_chains draw_fusion_findings draw_fusion_times"
    " draw_optimizers",
    "graph.view": "GraphView",
    "machine": "draw_badges draw_calls draw_machine draw_progress draw_refusal draw_support draw_terms",
    "memory": "ArenaView draw_arena draw_planners",
    "pipeline": "PipelineView draw_artefact",
    "precision": "ClipView RooflineView draw_accuracies draw_accuracy_chart draw_candidate",
    "quantview": "QuantView",
    "quizcard": "QuizCard quiz",
    "saycard": "say",
    "stepper": "RewriteStepper",
    "streams": "StreamView draw_cases draw_serving draw_timeline",
    "tables": "draw_configuration draw_engine draw_error draw_layers draw_outputs draw_plan_file"
    " draw_predictions draw_rows draw_stage draw_workflow",
}
_HOME_OF = {name: f"trtlab.teach.{module}" for module, names in _NAMES_IN.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"trtlab.teach has no name {name!r}; it has {', '.join(_HOME_OF)}")


def __dir__() -> list[str]:
    return sorted(_HOME_OF)
