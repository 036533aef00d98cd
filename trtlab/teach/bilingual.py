"""teach/bilingual: English and Chinese in one card, of which it shows one; a switch that all cards of a notebook share.

In: `Words` of study/bank. Out: cells that hold both languages. The style sheet shows one; a page without style shows
both, apart by a mark. The switch is a checkbox, so it works with no kernel, and alone where scripts are dropped.
"""

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from trtlab.study.bank import LANGUAGES, Words
from trtlab.teach.card import Cell, Drawing, block, escape, join, stack

LANG = {"en": "en", "zh": "zh-CN"}
MARK = Cell(html='<span class="or"> / </span>', text=" / ")


def rich(text: str) -> Cell:
    """Escaped text in which `backticks` became code; each line a paragraph of its own."""
    lines = [re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(line)) for line in text.splitlines()]
    return Cell(
        html=lines[0] if len(lines) == 1 else "".join(f"<p>{line}</p>" for line in lines), text=text.replace("`", "")
    )


def both(words: Words | str, name: str = "span", facts: Mapping[str, Any] | None = None) -> Cell:
    """Both languages in elements of that name, with facts in their places; words that are the same are said once."""
    if isinstance(words, str):
        words = Words(en=words, zh=words)
    if facts is not None:
        words = words.filled(facts)
    if words.en == words.zh:
        return Cell(html=f"<{name}>{rich(words.en).html}</{name}>", text=rich(words.en).text)
    cells = [_spoken(words[language], language, name) for language in LANGUAGES]
    return join(cells, MARK) if name == "span" else stack_of(cells)


def stack_of(cells: list[Cell]) -> Cell:
    """Cells behind each other in HTML, below each other as text."""
    return Cell(html="".join(found.html for found in cells), text="\n".join(c.text for c in cells if c.text))


def _spoken(text: str, language: str, name: str) -> Cell:
    inner = rich(text)
    return Cell(html=f'<{name} class="{language}" lang="{LANG[language]}">{inner.html}</{name}>', text=inner.text)


def switch(language: str = "en") -> Cell:
    """The switch that stands at the right end of a card's head, with the script that it needs."""
    label = toggle(language)
    return Cell(html=f"{label.html}<script>{_script()}</script>", text=label.text)


def toggle(language: str = "en") -> Cell:
    """The switch alone, for a widget, whose script has what it needs."""
    checked = " checked" if language == "zh" else ""
    says = "turns the card to Chinese (中文)"
    does = f'role="switch" aria-label="{says}" title="{says}" onchange="trtTongue(this.checked)"{checked}'
    words = '<span lang="en">English</span><span class="or"> / </span><span lang="zh-CN">中文</span>'
    label = f'<label class="tongue push"><input type="checkbox" {does}>{words}</label>'
    return Cell(html=label, text="English / 中文")


@functools.cache
def _script() -> str:
    return resources.files("trtlab.teach").joinpath("static/tongue.js").read_text(encoding="utf-8")


def bilingual(drawing: Cell) -> Drawing:
    """A card whose words in two languages obey the switch in its head."""
    return stack([block(drawing, "bilingual")])
