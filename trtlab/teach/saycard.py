"""teach/saycard: the card of every "Say it" section.

In: a question of the bank. Out: a `Drawing` that opens step by step: the question, the 60-second answer, follow-ups,
mistakes, said then / say now, sources. Nothing but HTML and CSS, so it also opens where no kernel runs.
"""

from collections.abc import Callable

from trtlab.study.bank import LANGUAGES, Words, said
from trtlab.study.questions import Question, question, spoken_size
from trtlab.teach import card as ui
from trtlab.teach.card import Cell, Drawing, apart, bilingual, block, bold, both, join, stack_of, switch, tag


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
    bar = Cell(html='<div class="time" aria-hidden="true"><div></div></div>', text="")
    clock = _opens("clock", both(said("say_it")), stack_of([bar, both(said("speak_now"), "div")]))
    steps = enumerate(filter(lambda step: getattr(asked, step), _STEPS), 1)
    parts = [block(join(head, apart()), "head"), asks, clock, *(_step(number, name, asked) for number, name in steps)]
    style = Cell(html=f"<style>{ui.stylesheet('saycard')}</style>", text="")
    return bilingual(block(stack_of([style, tag("section", stack_of(parts), "card say", aria_label=asked.name)])))


def _opens(kind: str, summary: Cell, inside: Cell) -> Cell:
    """A part that opens on demand, with a class for the style sheet."""
    return tag("details", stack_of([tag("summary", summary), inside]), kind)


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
    rungs = [(tag("span", f"{n}/{len(asked.follow_ups)}", "dim"), rung) for n, rung in enumerate(asked.follow_ups, 1)]
    return stack_of(
        [
            _opens("rung", join([place, both(rung.question)], apart(": ")), both(rung.answer, "div"))
            for place, rung in rungs
        ]
    )


def _mistakes(asked: Question) -> Cell:
    def mistake(heard: Words, why: Words) -> Cell:
        parts = [("heard", "often_said", heard), ("truth", "in_fact", why)]
        return block([block(_labelled(said(label), words), kind) for kind, label, words in parts], "mistake")

    return ui.stack(mistake(one.said, one.why) for one in asked.mistakes)


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
    links = [ui.link(s.removeprefix("https://"), s) if s.startswith("https://") else ui.cell(s) for s in asked.sources]
    proofs = ui.chips([f'claim("{name}")' for name in asked.proofs], mark=", ")
    proved = [join([both(said("proved_by")), proofs], ": ")] if asked.proofs else []
    return ui.stack([both(said("read_more")), ui.listed(links), *proved])


_STEPS: dict[str, Callable[[Question], Cell]] = {
    "answer": _answer, "follow_ups": _follow_ups, "mistakes": _mistakes, "changes": _changes, "sources": _sources,
}  # fmt: skip
