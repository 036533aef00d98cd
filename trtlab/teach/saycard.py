"""teach/saycard: the card of every "Say it" section.

In: a question of the bank. Out: a `Drawing` that opens step by step: the question, the 60-second answer, follow-ups,
mistakes, said then / say now, sources. Nothing but HTML and CSS, so it also opens where no kernel runs.
"""

from collections.abc import Callable, Sequence

from trtlab.study.bank import LANGUAGES, Words
from trtlab.study.questions import Question, question, spoken_size
from trtlab.teach.bilingual import bilingual, both, stack_of, switch
from trtlab.teach.card import (
    Cell,
    Drawing,
    apart,
    badge,
    block,
    bold,
    chips,
    escape,
    join,
    link,
    listed,
    stack,
    stylesheet,
    table,
    tag,
)

_HEADER = (
    Words(en="Topic", zh="主题"),
    Words(en="Said for TensorRT 8", zh="TensorRT 8 时的说法"),
    Words(en="Said for 10", zh="10 时的说法"),
    Words(en="Say now: 11 and RTX 1.7", zh="现在的说法：11 与 RTX 1.7"),
)
_SAY_IT = Words(en="Say it aloud: start 60 seconds", zh="先自己说一遍：开始 60 秒计时")
_SPEAK = Words(
    en="Speak now, without reading. When the bar is full, open the answer and compare.",
    zh="现在开口，不看稿。进度条走满后，打开答案对照。",
)
_SOURCES, _PROOFS = Words(en="Sources", zh="出处"), Words(en="Proved by", zh="可运行的证明")
_SAID, _WHY = Words(en="Often said:", zh="常听到："), Words(en="In fact:", zh="其实：")


def say(name: str, *, language: str = "en") -> Drawing:
    """The card of a question, such as `say("Q3-01")`; `language`, "en" or "zh", is what it shows first.

    UnknownEntry names the questions that are close; ValueError for another language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"the cards speak {' and '.join(LANGUAGES)}: got language={language!r}")
    asked = question(name)
    head = block(
        join([bold(asked.name), badge(asked.level.value), tag("span", asked.topic, "dim"), switch(language)], apart()),
        "head",
    )
    asks = tag("div", both(asked.question, "div"), "ask", role="heading", aria_level="3")
    steps = [_step(number, *step, asked) for number, step in enumerate(_STEPS, 1)]
    inside = stack_of([head, asks, _clock(), *steps])
    style = f"<style>{stylesheet('saycard')}</style>"
    section = f'<section class="card say" aria-label="{escape(asked.name)}">{inside.html}</section>'
    return bilingual(Cell(html=f"<div>{style}{section}</div>", text=inside.text))


def _opens(kind: str, summary: Cell, inside: Cell) -> Cell:
    """A part that opens on demand, with a class for the style sheet."""
    markup = f'<details class="{kind}"><summary>{summary.html}</summary>{inside.html}</details>'
    return Cell(html=markup, text=f"{summary.text}\n{inside.text}")


def _clock() -> Cell:
    bar = Cell(html='<div class="time" aria-hidden="true"><div></div></div>', text="")
    speak = both(_SPEAK, "div")
    return _opens("clock", both(_SAY_IT), Cell(html=bar.html + speak.html, text=speak.text))


def _step(number: int, name: str, title: Words, draw: Callable[[Question], Cell], asked: Question) -> Cell:
    """A numbered step that opens, and how much waits behind it."""
    size = both(_spoken_sizes(asked)) if name == "answer" else str(len(getattr(asked, name)))
    heading = join([join([tag("span", number, "n"), both(title)], apart(". ")), tag("span", size, "dim")], apart())
    return _opens(f"step {name}", heading, block(draw(asked), "inside"))


def _spoken_sizes(asked: Question) -> Words:
    words, characters = (spoken_size(asked.answer[language], language) for language in LANGUAGES)
    return Words(en=f"{words} words", zh=f"约 {characters} 字")


def _answer(asked: Question) -> Cell:
    return block(both(asked.answer, "div"), "spoken")


def _follow_ups(asked: Question) -> Cell:
    total = len(asked.follow_ups)
    heads = [
        join([tag("span", f"{number}/{total}", "dim"), both(rung.question)], apart(": "))
        for number, rung in enumerate(asked.follow_ups, 1)
    ]
    return stack_of(
        [_opens("rung", head, both(rung.answer, "div")) for head, rung in zip(heads, asked.follow_ups, strict=True)]
    )


def _mistakes(asked: Question) -> Cell:
    return stack(
        block([block(_labelled(_SAID, mistake.said), "heard"), block(_labelled(_WHY, mistake.why), "truth")], "mistake")
        for mistake in asked.mistakes
    )


def _labelled(label: Words, words: Words) -> Cell:
    """A label in bold and a sentence, language by language."""
    said = both(label.then(words), "div")
    html = said.html
    for language in LANGUAGES:
        html = html.replace(escape(label[language]), bold(label[language]).html, 1)
    return Cell(html=html, text=said.text)


def _changes(asked: Question) -> Cell:
    rows: Sequence[Sequence[Cell]] = [
        [both(cell) for cell in (row.topic, row.trt8, row.trt10, row.now)] for row in asked.changes
    ]
    return table([both(title) for title in _HEADER], rows)


def _sources(asked: Question) -> Cell:
    items = [link(source.removeprefix("https://"), source) if "://" in source else source for source in asked.sources]
    proofs = chips([f'claim("{name}")' for name in asked.proofs], mark=", ")
    return stack([both(_SOURCES), listed(items), join([both(_PROOFS), proofs], ": ")])


_STEPS = (
    ("answer", Words(en="The 60-second answer", zh="60 秒口述答案"), _answer),
    ("follow_ups", Words(en="Follow-up questions", zh="追问"), _follow_ups),
    ("mistakes", Words(en="Common mistakes", zh="常见错误"), _mistakes),
    ("changes", Words(en="Said then, say now", zh="过去怎么说，现在怎么说"), _changes),
    ("sources", Words(en="Sources and proofs", zh="出处与证明"), _sources),
)
