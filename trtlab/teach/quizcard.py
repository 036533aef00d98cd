"""teach/quizcard: a quiz as a card to answer: `quiz("q3-stage-order")`.

In: a quiz of the bank in study, or one made in a cell. Out: `QuizCard`. Replies come from the page or from `check()`,
are graded here and sent back in both languages; static/quizcard.js only shows them. At rest the answer waits inside a
closed <details>.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import traitlets

from trtlab.study.bank import Words, entries_in, said
from trtlab.study.curriculum import keep_reply
from trtlab.study.quiz import (
    Choice,
    Entry,
    Mark,
    NotAnAnswer,
    Number,
    Option,
    Ordering,
    Quiz,
    Result,
    find_quiz,
    load_quiz,
)
from trtlab.teach import card as ui
from trtlab.teach import source
from trtlab.teach.bilingual import bilingual, both, switch
from trtlab.teach.card import Cell, Drawing, bold, join, tag
from trtlab.teach.cover import covering, shows
from trtlab.teach.widget import Widget, script, styles

VERDICTS, SIGNS = ("wrong", "right"), ("✗", "✓")
PHRASES = ("quiz", "check", "show_answer", "start_over", "typical_slips", "how_computed", "move_up", "move_down",
           "no_answer", "show_what_follows")  # fmt: skip


def quiz(which: str | Quiz, truth: Callable[[], Any] | None = None) -> "QuizCard":
    """The card of the quiz named `which`, or of a quiz made here: a `Quiz`, or a text as in words/quizzes with the
    function that finds its `truth`. An unknown name raises, naming the close ones; a faulty text says which field."""
    if isinstance(which, Quiz):
        return QuizCard(which, truth=truth)
    if truth is not None:
        written = next(iter(entries_in(which, "your text", Entry).values()))
        return QuizCard(written.asked(truth()), truth=truth)
    return QuizCard(load_quiz(which), truth=find_quiz(which).find)


class QuizCard(Widget):
    """A quiz to answer. `attempts` holds a `Result` for each graded reply; `result` and `reply` are the last one's.

    `face` is what the page shows from the start, and holds no answer; `feedback` is what it shows after a reply.
    """

    _esm = script("tongue", "quizcard")
    _css = styles("cards", "quizcard", "cover")
    face = traitlets.Dict().tag(sync=True)
    feedback = traitlets.Dict().tag(sync=True)
    result = traitlets.Instance(Result, allow_none=True)

    def __init__(self, asked: Quiz, *, truth: Callable[[], Any] | None = None) -> None:
        self.quiz, self._truth = asked, truth
        self.attempts: tuple[Result, ...] = ()
        self._since = 0  # attempts before the last fresh start
        super().__init__(face=_face(asked), feedback={"attempts": 0, "serial": 0})
        self.on_msg(self._on_message)

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
        verdict = "right" if result.correct else "wrong"
        self._tell(verdict, result.headline, result.explanation, finished=result.correct)
        return result

    def show_answer(self) -> None:
        """Show the answer with every explanation. Offered on the card after a first attempt."""
        self._tell("shown", said("the_answer"), self.quiz.explanation, finished=True)

    def start_over(self) -> None:
        """Clear the card for another try; `attempts` are kept."""
        self._since = len(self.attempts)
        self.feedback = self._numbered({})

    def _on_message(self, _widget: Any, message: Any, _buffers: Any) -> None:
        what = message.get("what") if isinstance(message, dict) else None
        if what == "check":
            try:
                keep_reply(self.quiz.name, self.check(message.get("reply")).correct)
            except NotAnAnswer as unread:
                self.feedback = self._numbered({**self.feedback, "verdict": "unread", "says": asdict(unread.words)})
        elif what == "answer" and self._tries:
            self.show_answer()
        elif what == "again":
            self.start_over()

    def _tell(self, verdict: str, headline: Words, says: Words, *, finished: bool) -> None:
        self.feedback = self._numbered(
            {
                "verdict": verdict,
                "headline": asdict(headline),
                "says": asdict(says),
                "marks": {m.key: _mark(m) for m in (self.quiz.answer_marks if finished else self._marks())},
                "tried": list(dict.fromkeys(mark.key for mark in self._marks())),
                "reply": self.reply,
                "answer": self._answer() if finished else None,
            }
        )

    def _numbered(self, values: dict[str, Any]) -> dict[str, Any]:
        """With the count of attempts since the fresh start, and a serial number, so that a repeated verdict is told."""
        tries = len(self._tries)
        counted = {"attempts": tries, "tries": asdict(said("attempts", n=tries))}
        return {**values, **counted, "serial": self.feedback["serial"] + 1}

    def _marks(self) -> tuple[Mark, ...]:
        """Marks of the last reply; a single choice keeps those of its earlier ones, so that none is tried twice."""
        results = self._tries if isinstance(self.quiz, Choice) else self._tries[-1:]
        return tuple(mark for result in results for mark in result.marks)

    def _answer(self) -> dict[str, Any]:
        asked, made = self.quiz, self.quiz.truth.provenance
        where, code = source.call_and_code(self._truth)
        return {
            "text": asdict(asked.answer) if isinstance(asked, Number) else None,
            "order": list(asked.truth.value) if isinstance(asked, Ordering) else [],
            "slips": [_mark(m) for m in asked.answer_marks] if isinstance(asked, Number) else [],
            "evidence": asdict(asked.evidence), "origin": made.origin.value, "provenance": made.line(),
            "where": where, "code": code,
        }  # fmt: skip

    def static(self) -> Drawing:
        """The card with no kernel; what follows it stays covered until a box is ticked or the right one is found."""
        return covering(self.drawn(shows()))

    def drawn(self, *below: Cell) -> Drawing:
        """The question and its options; below them, closed, the answer with every explanation and its evidence."""
        asked = self.quiz
        head = [bold(both(said("quiz"))), ui.dim(both(said(f"asks_{asked.kind}"))), ui.dim(asked.name), switch()]
        answer = ui.details(both(said("answer_and_explanations")), *self._static_answer())
        parts = [tag("p", bold(both(asked.question))), self._static_options(), answer, *below]
        return bilingual(ui.block(ui.card(*parts, head=head), "trt-asked"))

    def _static_options(self) -> Cell:
        asked = self.quiz
        if isinstance(asked, Number):
            words = said("a_number_in", unit=asked.unit) if asked.unit.en else said("a_number")
            return tag("p", both(words), "dim")
        if not isinstance(asked, Choice):
            return ui.listed(both(option.text) for option in asked.shown)
        return ui.listed(_to_pick(asked.name, option) for option in asked.shown)

    def _static_answer(self) -> list[Cell]:
        asked, made = self.quiz, self.quiz.truth.provenance
        where, code = source.call_and_code(self._truth)
        right, slips = [], []
        if isinstance(asked, Number):
            right = [tag("p", join(["✓", bold(both(asked.answer))], " "))]
            slips = [tag("p", both(said("typical_slips")), "dim")]
        marks = ui.listed(
            (_explained(m, asked) for m in asked.answer_marks), "ol" if asked.kind == "ordering" else "ul"
        )
        how = [ui.details(join([both(said("how_computed")), where], ": "), ui.pre(code))] if code else []
        seen = join([both(asked.evidence), ui.origin_badge(made.origin)], ui.apart())
        evidence = ui.callout([seen, ui.dim(made.line())])
        return [*right, ui.block(both(asked.explanation, "p")), *slips, marks, evidence, *how]


def _to_pick(name: str, option: Option) -> Cell:
    """An option that is answered on a saved page: static/tongue.js shows its explanation out of the closed part."""
    box, words = f'<input type="radio" name="{ui.escape(name)}" value="{ui.escape(option.key)}">', both(option.text)
    return tag("label", Cell(html=f"{box} {words.html}", text=words.text))


def _explained(mark: Mark, asked: Quiz) -> Cell:
    """An option or slip with its sign, which an order has none of, and why."""
    named = bold(both(mark.text))
    signed = named if isinstance(asked, Ordering) else join([SIGNS[mark.is_right], named], " ")
    words = join([signed, both(mark.why)], ui.apart(": ")) if mark.why else signed
    return tag("span", words, VERDICTS[mark.is_right], data_key=mark.key)


def _face(asked: Quiz) -> dict[str, Any]:
    options = [{"key": option.key, "text": asdict(option.text)} for option in asked.shown]
    return {
        "name": asked.name, "kind": asked.kind, "question": asdict(asked.question), "options": options,
        "asks": asdict(said(f"asks_{asked.kind}")), "how": asdict(said(f"how_{asked.kind}", n=len(options))),
        "unit": asdict(asked.unit) if isinstance(asked, Number) else None,
        "words": {name: asdict(said(name)) for name in PHRASES},
    }  # fmt: skip


def _mark(mark: Mark) -> dict[str, Any]:
    return {
        "text": asdict(mark.text),
        "verdict": VERDICTS[mark.is_right],
        "why": asdict(mark.why) if mark.why else None,
    }


__all__ = ["QuizCard", "quiz"]
