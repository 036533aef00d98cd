"""teach/saycard: the card of every "Say it" section.

In: a question of the bank. Out: a `Drawing` that opens step by step: the question, the 60-second answer, follow-ups,
mistakes, said then / say now, sources. Nothing but HTML and CSS, so it also opens where no kernel runs.
"""

from collections.abc import Callable

from trtlab.study.bank import LANGUAGES, Words, said
from trtlab.study.questions import Mistake, Question, question, spoken_size
from trtlab.teach import card as ui
from trtlab.teach.bilingual import bilingual, both, stack_of, switch
from trtlab.teach.card import Cell, Drawing, apart, block, bold, join, tag


def say(which: str | Question, *, language: str = "en") -> Drawing:
    """The card of a question, such as `say("Q3-01")`, or of one's own: a `Question`, or a text of several lines as in
    words/questions. `language`, "en" or "zh", is what it shows first.

    UnknownEntry names the questions that are close; BadEntry says what a text lacks; ValueError for another language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"the cards speak {' and '.join(LANGUAGES)}: got language={language!r}")
    asked = which if isinstance(which, Question) else question(which)
    head = [bold(asked.name), ui.badge(asked.level.value), ui.dim(asked.topic), switch(language)]
    asks = tag("div", both(asked.question, "div"), "ask", role="heading", aria_level="3")
    steps = [
        _step(number, name, asked) for number, name in enumerate(filter(lambda step: getattr(asked, step), _STEPS), 1)
    ]
    inside = stack_of([block(join(head, apart()), "head"), asks, _clock(), *steps])
    style = f"<style>{ui.stylesheet('saycard')}</style>"
    section = f'<section class="card say" aria-label="{ui.escape(asked.name)}">{inside.html}</section>'
    return bilingual(Cell(html=f"<div>{style}{section}</div>", text=inside.text))


def _opens(kind: str, summary: Cell, inside: Cell) -> Cell:
    """A part that opens on demand, with a class for the style sheet."""
    markup = f'<details class="{kind}"><summary>{summary.html}</summary>{inside.html}</details>'
    return Cell(html=markup, text=f"{summary.text}\n{inside.text}")


def _clock() -> Cell:
    bar = Cell(html='<div class="time" aria-hidden="true"><div></div></div>', text="")
    speak = both(said("speak_now"), "div")
    return _opens("clock", both(said("say_it")), Cell(html=bar.html + speak.html, text=speak.text))


def _step(number: int, name: str, asked: Question) -> Cell:
    """A numbered step that opens, and how much waits behind it."""
    words, characters = (spoken_size(asked.answer[language], language) for language in LANGUAGES)
    spoken = both(said("spoken", words=words, characters=characters))
    size = ui.dim(spoken if name == "answer" else str(len(getattr(asked, name))))
    title = join([tag("span", number, "n"), both(said(f"step_{name}"))], apart(". "))
    return _opens(f"step {name}", join([title, size], apart()), block(_STEPS[name](asked), "inside"))


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
    return ui.stack(map(_mistake, asked.mistakes))


def _mistake(mistake: Mistake) -> Cell:
    heard = block(_labelled(said("often_said"), mistake.said), "heard")
    return block([heard, block(_labelled(said("in_fact"), mistake.why), "truth")], "mistake")


def _labelled(label: Words, words: Words) -> Cell:
    """A label in bold and a sentence, language by language."""
    spoken = both(label.then(words), "div")
    html = spoken.html
    for language in LANGUAGES:
        html = html.replace(ui.escape(label[language]), bold(label[language]).html, 1)
    return Cell(html=html, text=spoken.text)


def _changes(asked: Question) -> Cell:
    columns = ("topic", "trt8", "trt10", "now")
    rows = [[both(getattr(change, column)) for column in columns] for change in asked.changes]
    return ui.table([both(said(f"column_{column}")) for column in columns], rows)


def _sources(asked: Question) -> Cell:
    listed = ui.listed(map(_source, asked.sources))
    proofs = ui.chips([f'claim("{name}")' for name in asked.proofs], mark=", ")
    proved = [join([both(said("proved_by")), proofs], ": ")] if asked.proofs else []
    return ui.stack([both(said("read_more")), listed, *proved])


def _source(source: str) -> Cell:
    return ui.link(source.removeprefix("https://"), source) if source.startswith("https://") else ui.cell(source)


_STEPS: dict[str, Callable[[Question], Cell]] = {
    "answer": _answer,
    "follow_ups": _follow_ups,
    "mistakes": _mistakes,
    "changes": _changes,
    "sources": _sources,
}
