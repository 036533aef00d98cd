"""teach/supportcard: the matrix of formats and GPU generations as a table."""

from dataclasses import replace

from trtlab.lab.support import Cell, Support, recorded
from trtlab.teach.supportcard import NOTE, draw_support

from .markup import EVIL, said_by_both


def test_a_cell_says_what_the_product_reads_or_why_not_in_a_few_words():
    found = recorded().only(["NVFP4", "FP4_E2M1", "UINT8", "NF4", "FP32"], ["SM75", "SM120"])
    words = ["SM75 Turing", "SM120 Blackwell", "✓ FP4E2M1 × FP4E2M1", "✓ Half × Half ← FP4E2M1", "✗ fp4_e2m1, fp8_e4m3"]
    words += ["✗ parser refuses", "✗ no ONNX type", "✗ FP32 GEMM", NOTE, found.provenance.line()]
    said_by_both(draw_support(found), *words)


def test_every_refusal_is_there_word_for_word_and_once():
    found = recorded()
    page = said_by_both(draw_support(found), "Found unsupported input type of UINT8", "for target(s) smNN, because")
    assert page.words.count("Non-zero zero point is not supported") == 1
    assert page.words.count("cannot be imported into TensorRT") == 1
    assert "FP8_E5M2, UINT4" in page.words


def test_names_cannot_inject_markup():
    made = recorded().provenance
    cell = Cell(format=EVIL, target="SM75", refusal=EVIL, by="builder")
    said_by_both(draw_support(Support(cells=(cell, replace(cell, target=EVIL)), provenance=made)), EVIL)
