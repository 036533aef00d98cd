"""teach/quizcard: a quiz as a card to answer: `quiz("q3-stage-order")`.

In: a quiz of the bank in study, or one made in a cell. Out: `QuizCard`. Replies come from the page or from `check()`,
are graded here and sent back as markup in both languages; static/quizcard.js only puts it in its place. At rest the
answer waits inside a closed <details>.
"""

from collections.abc import Callable
from typing import Any

import traitlets

from trtlab.study import quiz as bank
from trtlab.study.bank import Words, only_entry, said
from trtlab.study.curriculum import keep_reply
from trtlab.study.quiz import Choice, Mark, NotAnAnswer, Number, Ordering, Quiz, Result
from trtlab.teach import card as ui
from trtlab.teach import source
from trtlab.teach.card import Cell, Drawing, bilingual, block, bold, both, join, stack_of, tag
from trtlab.teach.cover import shows, uncovers
from trtlab.teach.widget import Widget, script, styles

VERDICTS, SIGNS = ("wrong", "right"), {"wrong": "✗", "right": "✓"}
BUTTONS = {"check": "check", "answer": "show_answer", "again": "start_over"}
"""What a button of the card asks for, and what it says."""
TYPED = '<input type="text" inputmode="decimal" autocomplete="off" spellcheck="false" placeholder="?">'


def quiz(which: str | Quiz, truth: Callable[[], Any] | None = None) -> "QuizCard":
    """The card of the quiz named `which`, or of a quiz made here: a `Quiz`, or a text as in words/quizzes with the
    function that finds its `truth`. An unknown name raises, naming the close ones; a faulty text says which field."""
    if isinstance(which, Quiz):
        return QuizCard(which, truth=truth)
    if truth is not None:
        return QuizCard(only_entry(which, bank.Entry).asked(truth()), truth=truth)
    if "\n" in str(which):
        raise TypeError("a text of your own needs the function that finds its answer: quiz(text, function)")
    return QuizCard(bank.load_quiz(which), truth=bank.find_quiz(which).find)


class QuizCard(Widget):
    """A quiz to answer. `attempts` holds a `Result` for each graded reply; `result` and `reply` are the last one's.

    `face` is what the page shows from the start, and holds no answer; `feedback` is what it shows after a reply.
    """

    _esm = script("tongue", "quizcard")
    _css = styles("cards", "quizcard", "cover")
    face = traitlets.Unicode().tag(sync=True)
    feedback = traitlets.Dict().tag(sync=True)
    result = traitlets.Instance(Result, allow_none=True)

    def __init__(self, asked: Quiz, *, truth: Callable[[], Any] | None = None) -> None:
        self.quiz, self._truth = asked, truth
        self.attempts: tuple[Result, ...] = ()
        self._since = 0  # attempts before the last fresh start
        super().__init__(face=_face(asked, f"qz-{id(self):x}"), feedback={"attempts": 0, "serial": 0})

    @property
    def reply(self) -> Any:
        """The last graded reply, as it was understood; None before the first."""
        return self.result.reply if self.result else None

    @property
    def _tries(self) -> tuple[Result, ...]:
        return self.attempts[self._since :]

    def check(self, reply: Any) -> Result:
        """Grade a reply (a key, keys, or a number), show the verdict, return it. NotAnAnswer is no attempt."""
        result = self.quiz.grade(reply)
        self.attempts += (result,)
        self.result = result
        self._tell(VERDICTS[result.correct], result.headline, result.explanation, finished=result.correct)
        return result

    def show_answer(self) -> None:
        """Show the answer with every explanation. Offered on the card after a first attempt."""
        self._tell("shown", said("the_answer"), self.quiz.explanation, finished=True)

    def start_over(self) -> None:
        """Clear the card for another try; `attempts` are kept."""
        self._since = len(self.attempts)
        self._feed(tries=ui.escape(self.quiz.name))

    def hear(self, wish: dict[str, Any]) -> None:
        """A button of the card was pressed; what the page sends is kept as an answer."""
        what = wish.get("what")
        if what == "check":
            try:
                keep_reply(self.quiz.name, self.check(wish.get("reply")).correct)
            except NotAnAnswer as unread:
                self._feed(**{**self.feedback, "verdict": "unread", "told": both(unread.words).html})
        elif what == "answer" and self._tries:
            self.show_answer()
        elif what == "again":
            self.start_over()

    def _tell(self, verdict: str, headline: Words, says: Words, *, finished: bool) -> None:
        asked, tried = self.quiz, self._marks()
        marks = asked.answer_marks if finished else tried
        echoed = verdict == "wrong" and any(mark.why and mark.why.en in says.en for mark in marks)
        lead = bold(join([_sign(verdict), both(headline)], " "))
        self._feed(
            verdict=verdict,
            told=stack_of([lead, Cell(html=" ", text=""), tag("span", both(says), "unseen" * echoed)]).html,
            marks={
                mark.key: {"verdict": word, "sign": _sign(word).html, "why": both(mark.why).html if mark.why else ""}
                for mark, word in ((mark, VERDICTS[mark.is_right]) for mark in marks)
            },
            tried=list(dict.fromkeys(mark.key for mark in tried)),
            reply=list(asked.truth.value) if finished and isinstance(asked, Ordering) else self.reply,
            answer=self._answer(given=verdict == "right").html if finished else "",
            tries=both(said("attempts", n=len(self._tries))).html,
        )

    def _feed(self, **values: Any) -> None:
        """With the count of attempts since the fresh start, and a serial number, so that a repeated verdict is told."""
        self.feedback = values | {"attempts": len(self._tries), "serial": self.feedback["serial"] + 1}

    def _marks(self) -> tuple[Mark, ...]:
        """Marks of the last reply; a single choice keeps those of its earlier ones, so that none is tried twice."""
        results = self._tries if isinstance(self.quiz, Choice) else self._tries[-1:]
        return tuple(mark for result in results for mark in result.marks)

    def _answer(self, *, given: bool) -> Drawing:
        """What is shown below a verdict: the number, unless it was given, and its slips; the evidence."""
        if not isinstance(self.quiz, Number):
            return ui.stack(self._seen())
        right = [] if given else [tag("p", bold(both(self.quiz.answer)))]
        return ui.stack([*right, ui.details(both(said("typical_slips")), self._explained()), *self._seen()])

    def _explained(self) -> Cell:
        marks = (_explained(mark, self.quiz) for mark in self.quiz.answer_marks)
        return ui.listed(marks, "ol" if isinstance(self.quiz, Ordering) else "ul")

    def _seen(self) -> list[Cell]:
        """The evidence and where it is from; the function that found the truth opens on demand."""
        made = self.quiz.truth.provenance
        where, code = source.call_and_code(self._truth)
        seen = join([both(self.quiz.evidence), ui.badge(made.origin.value)], ui.apart())
        how = [ui.details(join([both(said("how_computed")), where], ": "), ui.pre(code))] if code else []
        return [ui.callout([seen, ui.dim(made.line())]), *how]

    def static(self) -> Drawing:
        """The card with no kernel; what follows it stays covered until a box is ticked or the right one is found."""
        return ui.styled("cover", self.drawn(shows()))

    def drawn(self, *below: Cell) -> Drawing:
        """The question and its options; below them, closed, the answer with every explanation and its evidence."""
        asked = self.quiz
        right, slips = [], []
        if isinstance(asked, Number):
            right = [tag("p", join(["✓", bold(both(asked.answer))], " "))]
            slips = [tag("p", both(said("typical_slips")), "dim")]
        parts = [*right, block(both(asked.explanation, "p")), *slips, self._explained(), *self._seen()]
        answer = ui.details(both(said("answer_and_explanations")), *parts)
        asks = [tag("p", bold(both(asked.question))), _options(asked), answer, *below]
        return bilingual(block(ui.card(*asks, head=[*_head(asked), ui.dim(asked.name)]), "trt-asked"))


# --- pieces -----------------------------------------------------------------------------------------------------------


def _head(asked: Quiz) -> list[Cell]:
    return [bold(both(said("quiz"))), ui.dim(both(said(f"asks_{asked.kind}")))]


def _options(asked: Quiz) -> Cell:
    """What a reply is chosen from at rest; a saved page (static/tongue.js) can answer a single choice alone."""
    if isinstance(asked, Number):
        return tag("p", both(said("a_number_in", unit=asked.unit) if asked.unit.en else said("a_number")), "dim")
    texts = [tag("span", both(option.text), data_key=option.key) for option in asked.shown]
    if isinstance(asked, Choice):
        boxes = [_box("radio", asked, option.key) for option in asked.shown]
        texts = [tag("label", stack_of([*pair])) for pair in zip(boxes, texts, strict=True)]
    return ui.listed(texts)


def _box(kind: str, asked: Quiz, key: str) -> Cell:
    return Cell(html=f'<input type="{kind}" name="{ui.escape(asked.name)}" value="{ui.escape(key)}"> ', text="")


def _rows(asked: Quiz) -> Cell:
    """What takes a reply: an entry; or rows with a digit and room for a sign and for why, with boxes or with arrows."""
    if isinstance(asked, Number):
        return block(stack_of([Cell(html=TYPED, text=""), tag("span", both(asked.unit))]), "qz-number")
    is_order, rows = isinstance(asked, Ordering), list[Cell]()
    for number, option in enumerate(asked.shown, 1):
        box = _box("radio" if isinstance(asked, Choice) else "checkbox", asked, option.key)
        parts = [tag("span", "⠿", "qz-grip", aria_hidden="true") if is_order else box]
        parts += [tag("span", number, "qz-digit", aria_hidden="true"), tag("span", both(option.text), "qz-text")]
        parts += [tag("span", "", "qz-sign"), *(_arrows(option.text) if is_order else [])]
        line = tag("div" if is_order else "label", stack_of(parts), "qz-line")
        rows.append(tag("li", stack_of([line, block("", "qz-why")]), "qz-row", data_key=option.key))
    return tag("ol" if is_order else "ul", stack_of(rows))


def _arrows(step: Words) -> list[Cell]:
    """The buttons that move a step; a screen reader hears which one."""
    found = []
    for drawn, words, by in (("▲", "move_up", "-1"), ("▼", "move_down", "1")):
        name = tag("span", join([both(said(words)), both(step)], ": "), "unseen")
        arrow = stack_of([tag("span", drawn, aria_hidden="true"), name])
        found.append(tag("button", arrow, type="button", data_step=by))
    return found


def _face(asked: Quiz, name: str) -> str:
    """The card before a reply; static/quizcard.js finds its parts by their classes."""
    head = stack_of([*_head(asked), tag("span", asked.name, "dim qz-state")])
    buttons = [
        tag("button", both(said(words)), "qz-button" + " qz-main" * (what == "check"), type="button", data_what=what)
        for what, words in BUTTONS.items()
    ]
    how = tag("span", both(said(f"how_{asked.kind}", n=len(asked.options))), "dim qz-how")
    parts = [
        tag("p", both(asked.question), "qz-question", id=name), _rows(asked),
        block(stack_of([*buttons, uncovers(), how]), "qz-actions"),
        tag("div", "", "qz-told", role="status", aria_live="polite", tabindex="-1"), block("", "qz-answer"),
        tag("div", "", "qz-heard unseen", aria_live="polite"),
    ]  # fmt: skip
    named = {"aria_labelledby": name, "data_kind": asked.kind, "data_lm_suppress_shortcuts": "true"}
    inside = stack_of([block(head, "head"), block(stack_of(parts), "body")])
    return tag("div", inside, "card qz bilingual", role="group", **named).html


def _explained(mark: Mark, asked: Quiz) -> Cell:
    """An option or slip with its sign, which an order has none of, and why."""
    verdict = VERDICTS[mark.is_right]
    signed = join([*([] if isinstance(asked, Ordering) else [SIGNS[verdict]]), bold(both(mark.text))], " ")
    words = join([signed, both(mark.why) if mark.why else ""], ui.apart(": "))
    return tag("span", words, verdict, data_key=mark.key)


def _sign(verdict: str) -> Cell:
    """A sign, and its word for those who do not see it."""
    if verdict not in SIGNS:
        return Cell(html="", text="")
    return stack_of([tag("span", SIGNS[verdict], aria_hidden="true"), tag("span", verdict, "unseen")])
