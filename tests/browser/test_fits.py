"""Nothing hidden, clipped or too small: every kind of card, figure and widget beside the open file browser."""

from pathlib import Path

import pytest

from .labpage import SCREEN, write_notebook

pytestmark = pytest.mark.browser

START = """from pathlib import Path
import numpy as np
from trtlab import teach
from trtlab.engine.networks import DIGITS_ONNX
from trtlab.engine.machine import inspect_machine
from trtlab.engine.nvidia import minimal
from trtlab.lab import builds, compare, fusion, life, precision, race, streams
from trtlab.numeric import FORMATS, FloatFormat
from trtlab.plan.memory import place
from trtlab.study.truths.planning import six_buffers
from trtlab.teach import source
noise = np.random.default_rng(0).standard_normal((64, 256), dtype=np.float32)
seen, races = precision.histograms("transformer")["layer_norm_2"], race.load("h100").races
accuracy = precision.accuracy("transformer")
six, found, sweep = six_buffers(), streams.load(), fusion.load("h100")
digits = builds.recorded("digits-FP32-SM89-dynamic")"""
FORMATS_SHOWN = ["FP64", "FP32", "TF32", "FP16", "BF16", "FP8_E4M3", "FP8_E5M2"]
CARDS = f"""teach.draw_machine(inspect_machine())
teach.draw_engine(digits)
teach.draw_layers(builds.report("inception"))
teach.draw_badges()
teach.draw_terms()
teach.draw_calls()
teach.draw_support()
teach.draw_formats({FORMATS_SHOWN})
teach.draw_value("1/3", {FORMATS_SHOWN})
teach.draw_codes("FP8_E4M3")
teach.draw_block(noise[0, :32], FORMATS["NVFP4"].quantize(noise[:1, :32]))
teach.draw_sqnr(noise, ["INT8", "FP8_E4M3", "INT4", "FP4_E2M1", "NF4", "MXFP8_E4M3", "MXFP4", "MXINT8", "NVFP4"])
teach.draw_claims(("C03", "C04", "C05", "C06"))
teach.draw_claims(("C70", "C71", "C72", "C89"))
teach.claim("C15")
teach.claim("C61")
teach.say("Q2-01")
teach.quiz("q1-order-by-range")
teach.quiz("q1-seventy-thousand")
source.show(FloatFormat.magnitude)
source.show(minimal.infer)
source.show(minimal.build)
teach.draw_agreement(compare.compare_groups(builds.model("wide_inception")))
teach.draw_optimizers()
teach.draw_fusion_findings(sweep)
teach.draw_planners(six)
teach.draw_arena(six, place(six).offsets, "Six")
teach.draw_timeline(found.case("16 requests on 4"))
teach.draw_cases(found, "requests")
teach.draw_lives([*life.load("cpu").values()])
teach.draw_diagram("workflow")
teach.draw_diagram("fusion")
teach.draw_diagram("acceleration")
teach.draw_door(Path.cwd(), digits, "q1-nearest-code")
teach.draw_race(races[0].race, races[0].problem.name, [races[0].provenance])
teach.draw_candidate(seen, 300)
teach.draw_accuracies(accuracy, "Transformer")
teach.draw_refusal(b"GIF89a, which is no model")""".split("\n")
WIDGETS = """teach.BitEditor("FP16", "3.3")
teach.BitEditor("FP64", "0.1")
teach.QuantView("trained conv weights", "NVFP4")
view = teach.PipelineView("digits"); view.run(); view
teach.GraphView(builds.model("inception"))
teach.GraphView(DIGITS_ONNX, report=digits)
teach.RewriteStepper("inception")
teach.StreamView(streams=4, share=25)
teach.ArenaView(six)
teach.ClipView(seen, lambda clipped: (1, 2))
teach.RooflineView()
teach.NoiseView(gap=30, noise=40, spikes=10, rounds=10)""".split("\n")
FIGURES = f"""teach.draw_accuracy_chart({{"transformer": accuracy}})
teach.draw_precision([*{FORMATS_SHOWN[1:]}, "INT8"])
teach.draw_number_line(["FP4_E2M1", "FP6_E2M3", "FP8_E4M3", "FP8_E5M2", "INT8"], most=8)
teach.draw_staircase("FP4_E2M1", ["nearest_even", "toward_zero", "down", "up", "stochastic"], low=-6.5, high=6.5)
teach.draw_fusion_times(sweep, sweep)
teach.draw_serving(found)
teach.draw_engine_life(life.load("cpu")["resnet18"], life.load("h100")["resnet18"])
teach.draw_enqueue(life.load("cpu")["resnet18"], life.load("h100")["resnet18"])""".split("\n")

LEAST_PX = {SCREEN["width"]: 11, 1000: 10}
"""Width of the window, and the smallest words of a picture in it."""
FAULTS = (Path(__file__).parent / "fits.js").read_text("utf-8")
DRAWN = "() => [...document.querySelectorAll('.js-plotly-plot')].every((one) => one.scrollWidth <= one.clientWidth)"
GRID = """() => [...new Set([...document.querySelectorAll('.gridlayer path')].map((line) =>
    `${getComputedStyle(line).stroke} ${getComputedStyle(line).strokeOpacity}`))]"""
OPEN = "() => { for (const one of document.querySelectorAll('.jp-OutputArea details')) one.open = true; }"


def test_every_card_figure_and_widget_shows_all_it_holds(lab_page, lab_folder):
    write_notebook(lab_folder / "fits.ipynb", [START, *CARDS, *WIDGETS, *FIGURES])
    lab_page.open("fits.ipynb")
    page = lab_page.page
    page.set_viewport_size({"width": 1366, "height": 30_000})  # no cell is left out for being out of sight
    lab_page.run_all()
    assert lab_page.error_outputs() == []
    assert page.locator(".jp-DirListing").is_visible()
    faults = {}
    for theme in ("light", "dark"):
        lab_page.set_theme(theme)
        for width in LEAST_PX:
            page.set_viewport_size({"width": width, "height": 30_000})
            page.wait_for_timeout(1000)
            page.wait_for_function(DRAWN)
            faults[theme, width] = page.evaluate(FAULTS, LEAST_PX[width])
            lab_page.screenshot(f"fits_{width}_{theme}")
        assert page.evaluate(GRID) == ["rgb(125, 133, 144) 0.25"]  # of both themes, and never white
        page.evaluate(OPEN)  # dark: with all that opens on demand
    assert {key: found for key, found in faults.items() if found} == {}
