"""teach/saycard: the card of every "Say it" section.

In: a question of the bank. Out: a `Drawing` that opens step by step: the question, the 60-second answer, follow-ups,
mistakes, said then / say now, sources. Nothing but HTML and CSS, so it also opens where no kernel runs.
"""

from collections.abc import Callable

from trtlab.study.bank import LANGUAGES, said
from trtlab.study.questions import Question, question, spoken_size
from trtlab.teach import card as ui
from trtlab.teach.card import Cell, Drawing, apart, bilingual, block, bold, both, join, rich, stack_of, tag


def say(which: str | Question) -> Drawing:
    """The card of a question, such as `say("Q3-01")`, or of one's own: a `Question`, or a text of several lines as in
    words/questions. UnknownEntry names the questions that are close; BadEntry says what a text lacks.
    """
    asked = which if isinstance(which, Question) else question(which)
    head = [bold(asked.name), ui.badge(asked.level.value), ui.dim(asked.topic)]
    asks = tag("div", both(asked.question, "div"), "ask", role="heading", aria_level="3")
    bar = Cell(html='<div class="time" aria-hidden="true"><div></div></div>', text="")
    clock = _opens("clock", both(said("say_it")), [bar, both(said("speak_now"), "div")])
    words, characters = (spoken_size(asked.answer[one], one) for one in LANGUAGES)
    spoken = both(said("spoken", words=words, characters=characters))
    parts = [block(join(head, apart()), "head"), asks, clock]
    for number, (name, inside) in enumerate(((n, draw) for n, draw in _STEPS.items() if getattr(asked, n)), 1):
        title = join([tag("span", number, "n"), both(said(f"step_{name}"))], apart(". "))
        size = ui.dim(spoken if name == "answer" else len(getattr(asked, name)))
        parts.append(_opens(f"step {name}", join([title, size], apart()), [block(inside(asked), "inside")]))
    section = tag("section", stack_of(parts), "card say", aria_label=asked.name)
    return bilingual(ui.styled("saycard", section))


def _opens(kind: str, summary: Cell, inside: list[Cell]) -> Cell:
    """A part that opens on demand, with a class for the style sheet."""
    return tag("details", stack_of([tag("summary", summary), *inside]), kind)


def _follow_ups(asked: Question) -> Cell:
    rungs = []
    for number, rung in enumerate(asked.follow_ups, 1):
        place = tag("span", f"{number}/{len(asked.follow_ups)}", "dim")
        rungs.append(_opens("rung", join([place, both(rung.question)], apart(": ")), [both(rung.answer, "div")]))
    return stack_of(rungs)


def _mistakes(asked: Question) -> Cell:
    """What is often said, and why it is wrong: each behind a label in bold, language by language."""
    found = []
    for one in asked.mistakes:
        lines = []
        for kind, label, words in (("heard", said("often_said"), one.said), ("truth", said("in_fact"), one.why)):
            spoken = both(label.then(words), "div")
            html = spoken.html
            for language in LANGUAGES:
                html = html.replace(ui.escape(label[language]), bold(label[language]).html, 1)
            lines.append(block(Cell(html=html, text=spoken.text), kind))
        found.append(block(lines, "mistake"))
    return ui.stack(found)


def _changes(asked: Question) -> Cell:
    columns = ("topic", "trt8", "trt10", "now")
    rows = [[both(getattr(change, column)) for column in columns] for change in asked.changes]
    return ui.table([both(said(f"column_{column}")) for column in columns], rows)


def _sources(asked: Question) -> Cell:
    links = [ui.link(s.removeprefix("https://"), s) if s.startswith("https://") else rich(s) for s in asked.sources]
    proofs = ui.chips([f'claim("{name}")' for name in asked.proofs], mark=", ")
    proved = [join([both(said("proved_by")), proofs], ": ")] if asked.proofs else []
    return ui.stack([both(said("read_more")), ui.listed(links), *proved])


_STEPS: dict[str, Callable[[Question], Cell]] = {
    "answer": lambda asked: block(both(asked.answer, "div"), "spoken"),
    "follow_ups": _follow_ups, "mistakes": _mistakes, "changes": _changes, "sources": _sources,
}  # fmt: skip
