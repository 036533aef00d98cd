"""The bit editor in a real browser, in JupyterLab and in Voila: flip, drag, type, keys, and how long that takes."""

import itertools
import statistics

import pytest

pytestmark = pytest.mark.browser

FLIP_MANY = """async (count) => {
    const root = document.querySelector('.be'), bits = [...root.querySelectorAll('.be-bit:enabled')], times = [];
    for (let i = 0; i < count; i++) {
        const answered = new Promise((done) => {
            const watch = new MutationObserver(() => { watch.disconnect(); done(); });
            watch.observe(root, { attributes: true, attributeFilter: ['data-code'] });
        });
        const bit = bits[(i * 7) % bits.length], before = bit.getAttribute('aria-checked'), start = performance.now();
        bit.click();
        const repainted = bit.getAttribute('aria-checked') !== before;
        const local = performance.now() - start;
        await answered;
        root.offsetHeight;
        times.push({ repainted, local, answer: performance.now() - start });
        await new Promise((next) => setTimeout(next, 40));
    }
    return times;
}"""
CUT_OFF = """() => [...document.querySelectorAll('.be, .be .card, .be-table, .be-strip')]
    .filter((node) => node.scrollWidth > node.clientWidth + 1).map((node) => node.className)"""

LEAST_PX = """() => Math.min(...[...document.querySelectorAll('.be *')].map((node) =>
    parseFloat(getComputedStyle(node).fontSize)))"""


@pytest.fixture
def show(request):
    """show("FP16", "1.5") -> a page of JupyterLab or Voila with that editor; afterwards no error was seen."""
    page = request.getfixturevalue(getattr(request, "param", "lab"))

    def open_editor(*arguments, **options):
        text = ", ".join([*map(repr, arguments), *(f"{k}={v!r}" for k, v in options.items())])
        page.show(f"from trtlab.teach import BitEditor\neditor = BitEditor({text})\neditor")
        page.page.locator(".be").wait_for()
        page.page.locator(".be-strip").scroll_into_view_if_needed()
        page.page.locator(".be-strip").element_handle().wait_for_element_state("stable")  # no more scrolling
        return page

    return open_editor


BOTH = pytest.mark.parametrize("show", ["lab", "voila"], indirect=True)


def bit(page, place):
    return page.page.locator(f".be-bit[data-bit='{place}']")


def explained(page, code):
    """Wait until the page explains `code`, as Python answered it."""
    page.page.locator(f".be[data-code='{code}']").wait_for()


def value(page):
    return page.page.get_by_label("Value", exact=True).inner_text()


def python_says(page):
    """What Python holds, in JupyterLab; in Voila no cell can be run, and the page's own word is taken."""
    return page.ask("hex(editor.code)") if page.kind == "lab" else page.page.locator(".be").get_attribute("data-code")


@BOTH
def test_clicks_and_drags_flip_bits(show):
    page = show("FP8_E4M3", "1.5")
    bit(page, 0).click()
    explained(page, "0x3d")
    assert value(page) == "1.625"
    assert bit(page, 0).get_attribute("aria-checked") == "true"
    page.page.locator(".be").get_by_role("button", name="0", exact=True).click()
    explained(page, "0x00")
    start, end = bit(page, 5).bounding_box(), bit(page, 2).bounding_box()
    page.page.mouse.move(start["x"] + 9, start["y"] + 20)
    page.page.mouse.down()
    page.page.mouse.move(end["x"] + 30, end["y"] + 40, steps=2)  # faster than one step for each bit
    page.page.mouse.up()
    explained(page, "0x3c")
    page.page.mouse.move(end["x"] + 90, end["y"] + 40)
    explained(page, "0x3c")
    assert [row.inner_text() for row in page.page.locator(".be-formula div").all()][1] == "= +1 × 2⁰ × 1.5 = 1.5"
    assert python_says(page) == "0x3c"


def test_a_figure_under_voila_is_no_error(voila):
    """plotly wants to keep its picture where Voila keeps none; the fixture sees what reaches the console."""
    voila.show("from trtlab.teach import draw_precision, say\nsay('Q3-01')", "draw_precision(['FP16'])")
    voila.page.locator(".plot-container").first.wait_for(state="attached")
    voila.page.wait_for_timeout(2000)


@BOTH
def test_keys_alone_walk_flip_write_and_step(show):
    page = show("FP16", "1")
    press, cells = page.page.keyboard.press, len(page.cells()) if page.kind == "lab" else 0
    page.page.get_by_label("Value to encode").focus()
    press("Tab")
    focused = "() => document.activeElement.getAttribute('aria-label')"
    assert page.page.evaluate(focused) == "bit 15, sign", "one stop for all bits"
    press("Space")
    explained(page, "0xbc00")
    press("Enter")
    explained(page, "0x3c00")
    press("End")
    assert page.page.evaluate(focused) == "bit 0, mantissa"
    press("ArrowLeft")
    press("Space")
    explained(page, "0x3c02")
    for key in "101":
        press(key)
    explained(page, "0x3c03")
    press("Home")
    press("ArrowRight")
    assert page.page.evaluate(focused) == "bit 14, exponent"
    press("+")
    explained(page, "0x3c04")
    press("-")
    press("-")
    explained(page, "0x3c02")
    for key in "abdmyz":  # shortcuts of the notebook's command mode
        press(key)
    assert page.kind == "voila" or len(page.cells()) == cells
    assert python_says(page) == "0x3c02"


def test_typed_numbers_are_stored_or_refused_in_place(show):
    page = show("FP8_E4M3", "1")
    entry, said = page.page.get_by_label("Value to encode"), page.page.locator(".be-said").first
    for text, code, stored in (
        ("1/3", "0x2b", "0.34375"),
        ("0x1.8p3", "0x54", "12"),
        ("1e9", "0x7e", "448"),
        ("-0", "0x80", "−0"),
    ):
        entry.fill(text)
        explained(page, code)
        assert (value(page), entry.input_value()) == (stored, text)
    entry.fill("nan")
    explained(page, "0x7f")
    assert page.page.locator(".be-kind").inner_text() == "NaN"
    entry.fill("1,5")
    said.filter(has_text="no number: '1,5'").wait_for()
    assert entry.get_attribute("aria-invalid") == "true"
    entry.press("Tab")
    assert (entry.input_value(), page.page.locator(".be").get_attribute("data-code")) == ("1,5", "0x7f")
    page.page.get_by_label("Format", exact=True).select_option("INT8")
    said.filter(has_text="INT8 has no NaN").wait_for()
    entry.fill("300")
    said.filter(has_text="saturates").wait_for()
    assert said.inner_text().split("\n")[1:] == ["off by", "−173", "57.7%", "173 ULP"]
    page.page.get_by_label("Overflow").select_option("ieee")
    said.filter(has_text="neither infinity nor NaN").wait_for()
    bit(page, 0).click()
    explained(page, "0x7e")
    assert entry.input_value() == "126"
    entry.fill("")
    page.page.wait_for_timeout(300)
    assert (entry.get_attribute("aria-invalid"), page.page.locator(".be-refused").count()) == ("false", 0)
    entry.press("Tab")
    assert entry.input_value() == "126"
    page.page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    page.page.get_by_role("button", name="Copy this value").click()
    assert page.page.evaluate("() => window.copied") == 'BitEditor("INT8", "126")'
    name = page.page.locator(".be-name").first
    assert (name.inner_text(), bit(page, 7).get_attribute("aria-label")) == ("top bit, −128", "bit 7, top bit, −128")


def test_codes_are_typed_in_three_bases_stepped_and_chosen(show):
    page = show("FP8_E4M3", "1", formats=["FP8_E4M3", "FP16", "TF32"])
    get = page.page.get_by_label
    for label, text, code in (
        ("Code in hexadecimal", "7e", "0x7e"),
        ("Code in binary", "0 1111 111", "0x7f"),
        ("Code in decimal", "1", "0x01"),
    ):
        get(label).fill(text)  # no Enter: what is typed is live
        explained(page, code)
    assert page.page.locator(".be-kind").inner_text() == "subnormal"
    get("Code in hexadecimal").fill("1ff")
    get("Code in hexadecimal").press("Enter")
    page.page.get_by_text("FP8_E4M3 has codes 0 to 0xff: got 0x1ff").wait_for()
    assert get("Code in hexadecimal").input_value() == "1ff"
    get("Next code").click()
    explained(page, "0x02")
    get("upper neighbour").click()
    explained(page, "0x03")
    page.page.get_by_role("button", name="max", exact=True).click()
    explained(page, "0x7e")
    page.page.get_by_role("button", name="TF32", exact=True).click()
    explained(page, "0x43e00000")
    assert page.page.locator(".be-bit:disabled").count() == 13
    get("Next code").click()
    explained(page, "0x43e02000")


def test_64_bits_are_exact_and_answers_come_fast(show):
    page = show("FP64", 2**53)
    assert page.page.get_by_role("switch").count() == 64
    bit(page, 0).click()
    explained(page, "0x4340000000000001")
    assert value(page) == "9,007,199,254,740,994"
    times = page.page.evaluate(FLIP_MANY, 80)
    assert all(time["repainted"] for time in times), "the bit itself waits for nobody"
    local, answer = ([time[what] for time in times] for what in ("local", "answer"))
    p95 = statistics.quantiles(answer, n=20)[-1]
    print(f"\nflip to explained, 64 bits: p50={statistics.median(answer):.1f} ms p95={p95:.1f} ms, n={len(times)}")
    assert statistics.median(local) < statistics.median(answer)
    assert python_says(page) == page.page.locator(".be").get_attribute("data-code")


def test_a_drag_over_many_bits_ends_where_the_hand_ends(show):
    """Faster than the kernel: answers to older codes must not paint over the bits."""
    page = show("FP32", "0")
    first, last = bit(page, 31).bounding_box(), bit(page, 0).bounding_box()
    page.page.mouse.move(first["x"] + 4, first["y"] + 20)
    page.page.mouse.down()
    page.page.mouse.move(last["x"] + 4, last["y"] + 20, steps=60)
    page.page.mouse.up()
    assert page.page.locator(".be-bit[aria-checked='true']").count() == 32
    explained(page, "0xffffffff")
    assert page.page.locator(".be-bit[aria-checked='true']").count() == 32
    assert python_says(page) == "0xffffffff"


def test_python_changes_the_page_and_two_views_agree(lab):
    lab.show("from trtlab.teach import BitEditor\ne = BitEditor('FP4_E2M1', '5')\ne", "e", "e.value = 3")
    lab.page.wait_for_function("() => document.querySelectorAll('.be[data-code=\"0x5\"]').length === 2")
    lab.page.locator(".be").nth(1).locator("[data-bit='3']").click()
    lab.page.wait_for_function("() => document.querySelectorAll('.be[data-code=\"0xd\"]').length === 2")
    assert lab.page.locator(".be").nth(0).locator("[data-bit='3']").get_attribute("aria-checked") == "true"


LOOKS = [("FP64", "0.1"), ("FP8_E4M3", "1/3"), ("FP4_E2M1", "5"), ("INT8", "-37.4"), ("NF4", "0.3"), ("FP32", "-1e-40")]


def test_it_fits_the_page_in_both_themes(lab):
    """1366 x 768 with the file browser open: nothing is cut off, no text stands in another."""
    lab.show("from trtlab.teach import BitEditor", *(f"BitEditor{look!r}" for look in LOOKS))
    for number in range(len(LOOKS)):
        lab.page.locator(".be").nth(number).scroll_into_view_if_needed()
    assert lab.page.evaluate(CUT_OFF) == []
    assert lab.page.evaluate(LEAST_PX) >= 11
    for theme in ("dark", "light"):
        lab.set_theme(theme)
        lab.screenshot(f"bits_{theme}", whole=True)


LABELS = """() => [...document.querySelectorAll('.be-all small')].map((label) => {
    const { left, right, top } = label.getBoundingClientRect();
    return [Math.round(top), left, right];
}).sort((a, b) => a[0] - b[0] || a[1] - b[1])"""


def test_the_labels_of_all_values_do_not_touch_on_a_narrow_page(show):
    lab = show("FP4_E2M1", "2.5")
    lab.page.set_viewport_size({"width": 1000, "height": 900})
    labels = lab.page.evaluate(LABELS)
    assert len(labels) == 15
    assert all(one[0] < after[0] or one[2] <= after[1] for one, after in itertools.pairwise(labels))
