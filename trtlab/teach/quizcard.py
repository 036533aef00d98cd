"""teach/quizcard: a quiz as a card to answer: `quiz("q3-stage-order")`.

In: a quiz of the bank in study, or one made in a cell. Out: `QuizCard`. Replies come from the page or from `check()`,
are graded here and sent back; static/quizcard.js only shows them. At rest the answer waits inside a closed <details>.
"""

import inspect
from pathlib import Path
from typing import Any

import traitlets

import trtlab
from trtlab.study import quizzes
from trtlab.study.quiz import Choice, Mark, NotAnAnswer, Number, Ordering, Quiz, Result, Several, Verdict
from trtlab.teach.drawing import Drawing, callout, card, details, escape, origin_badge, provenance_line
from trtlab.teach.widget import STATIC, Widget

_HOME = Path(trtlab.__file__).parent.parent
SIGNS = {Verdict.RIGHT: "✓", Verdict.WRONG: "✗"}
HOW = {
    Choice: "1–{n} or arrows choose, Enter checks",
    Several: "1–{n} or Space tick, Enter checks",
    Number: "Enter checks; 1.5 and 1,5 are both fine",
    Ordering: "drag, or Alt+↑ Alt+↓, or a digit for the place; Enter checks",
}


def quiz(which: str | Quiz) -> "QuizCard":
    """The card of the quiz named `which`, or of a quiz made here. An unknown name raises, naming the close ones."""
    if isinstance(which, Quiz):
        return QuizCard(which)
    return QuizCard(quizzes.load(which), truth=quizzes.source(which).truth)


class QuizCard(Widget):
    """A quiz to answer. `attempts` holds a `Result` for each graded reply; `result` and `reply` are the last one's.

    `face` is what the page shows from the start, and holds no answer; `feedback` is what it shows after a reply.
    """

    _esm = STATIC / "quizcard.js"
    _css = (STATIC / "cards.css").read_text("utf-8") + (STATIC / "quizcard.css").read_text("utf-8")
    face = traitlets.Dict().tag(sync=True)
    feedback = traitlets.Dict().tag(sync=True)
    result = traitlets.Instance(Result, allow_none=True)

    def __init__(self, asked: Quiz, *, truth: Any = None) -> None:
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
        self._tell(result, "right" if result.correct else "wrong", finished=result.correct)
        return result

    def show_answer(self) -> None:
        """Show the answer with every explanation. Offered on the card after a first attempt."""
        self._tell(self.result, "shown", finished=True)

    def start_over(self) -> None:
        """Clear the card for another try; `attempts` are kept."""
        self._since = len(self.attempts)
        self.feedback = self._numbered({})

    def _on_message(self, _widget: Any, message: Any, _buffers: Any) -> None:
        what = message.get("what") if isinstance(message, dict) else None
        if what == "check":
            try:
                self.check(message.get("reply"))
            except NotAnAnswer as unread:
                self.feedback = self._numbered({**self.feedback, "verdict": "unread", "says": str(unread)})
        elif what == "answer" and self._tries:
            self.show_answer()
        elif what == "again":
            self.start_over()

    def _tell(self, result: Result | None, verdict: str, *, finished: bool) -> None:
        shown = verdict == "shown"
        self.feedback = self._numbered(
            {
                "verdict": verdict,
                "headline": "The answer" if shown or result is None else result.headline,
                "says": self.quiz.explanation if shown or result is None else result.explanation,
                "marks": {m.key: _mark(m) for m in (self.quiz.answer_marks if finished else self._marks())},
                "tried": list(dict.fromkeys(mark.key for mark in self._marks())),
                "reply": result.reply if result else None,
                "answer": self._answer() if finished else None,
            }
        )

    def _numbered(self, values: dict[str, Any]) -> dict[str, Any]:
        """With the count of attempts since the fresh start, and a serial number, so that a repeated verdict is told."""
        return {**values, "attempts": len(self._tries), "serial": self.feedback["serial"] + 1}

    def _marks(self) -> tuple[Mark, ...]:
        """Marks of the last reply; a single choice keeps those of its earlier ones, so that none is tried twice."""
        results = self._tries if isinstance(self.quiz, Choice) else self._tries[-1:]
        return tuple(mark for result in results for mark in result.marks)

    def _answer(self) -> dict[str, Any]:
        truth = self.quiz.truth
        where, code = _code(self._truth)
        return {
            "text": self.quiz.answer,
            "order": list(truth.value) if isinstance(self.quiz, Ordering) else [],
            "slips": [_mark(m) for m in self.quiz.answer_marks] if isinstance(self.quiz, Number) else [],
            "evidence": truth.evidence, "origin": truth.provenance.origin.value, "provenance": truth.provenance.line(),
            "where": where, "code": code,
        }  # fmt: skip

    def static(self) -> Drawing:
        """The question and its options; below them, closed, the answer with every explanation and its evidence."""
        asked = self.quiz
        head = (
            f'<b>Quiz</b><span class="by">{escape(asked.asks)}</span><span class="by push">{escape(asked.name)}</span>'
        )
        body = f"<p><b>{code_spans(asked.question)}</b></p>{self._static_options()}"
        body += details("Answer and explanations", self._static_answer())
        return Drawing(html=card(head, body), text=self._text())

    def _static_options(self) -> str:
        if isinstance(self.quiz, Number):
            return f'<p class="dim">A number{f" in {escape(self.quiz.unit)}" if self.quiz.unit else ""}.</p>'
        return "<ul>" + "".join(f"<li>{code_spans(option['text'])}</li>" for option in _options(self.quiz)) + "</ul>"

    def _static_answer(self) -> str:
        ordered = isinstance(self.quiz, Ordering)
        rows = "".join(
            f"<li>{'' if ordered else SIGNS[m.verdict] + ' '}<b>{code_spans(m.text)}</b>{_because(m.why)}</li>"
            for m in self.quiz.answer_marks
        )
        truth, (where, code) = self.quiz.truth, _code(self._truth)
        evidence = f"{code_spans(truth.evidence)} {origin_badge(truth.provenance.origin)}"
        evidence += f'<br><span class="dim">{provenance_line(truth.provenance)}</span>'
        how = details(f"How it was computed: {where}", f'<pre class="mono">{escape(code)}</pre>') if code else ""
        lead = "" if not isinstance(self.quiz, Number) else f"<p>✓ <b>{code_spans(self.quiz.answer)}</b></p>"
        heading = '<p class="dim">Typical slips:</p>' if isinstance(self.quiz, Number) else ""
        tag = "ol" if ordered else "ul"
        return f"{lead}<p>{code_spans(self.quiz.explanation)}</p>{heading}<{tag}>{rows}</{tag}>{callout(evidence)}{how}"

    def _text(self) -> str:
        options = "".join(f"\n  - {option['text']}" for option in _options(self.quiz))
        return f"Quiz {self.quiz.name} ({self.quiz.asks.lower()})\n{self.quiz.question}{options}"


def _because(why: str) -> str:
    return f"<br>{code_spans(why)}" if why else ""


def _face(asked: Quiz) -> dict[str, Any]:
    options = _options(asked)
    return {
        "name": asked.name, "kind": asked.kind, "asks": asked.asks, "question": asked.question, "options": options,
        "unit": asked.unit if isinstance(asked, Number) else "",
        "how": next(how for kind, how in HOW.items() if isinstance(asked, kind)).format(n=len(options)),
    }  # fmt: skip


def _options(asked: Quiz) -> list[dict[str, str]]:
    """What there is to choose or to order, in the order in which every form shows it."""
    shown = asked.shown if isinstance(asked, Choice | Several | Ordering) else ()
    return [{"key": option.key, "text": option.text} for option in shown]


def _mark(mark: Mark) -> dict[str, str]:
    return {"text": mark.text, "verdict": mark.verdict.value, "why": mark.why}


def code_spans(text: str) -> str:
    """Escaped text in which `backticks` have become <code>."""
    parts = text.split("`")
    return "".join(f"<code>{escape(part)}</code>" if i % 2 else escape(part) for i, part in enumerate(parts))


def _code(function: Any) -> tuple[str, str]:
    """(file and function, source) of a truth function; empty where there is none to show."""
    try:
        path = Path(inspect.getsourcefile(function) or "")
        code = inspect.getsource(function)
    except (TypeError, OSError):
        return "", ""
    where = path.relative_to(_HOME).as_posix() if path.is_relative_to(_HOME) else path.name
    return f"{where}, {function.__name__}", code
