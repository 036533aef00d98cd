"""teach/saycard: the card of every "Say it" section.

In: a question of the bank. Out: a `Drawing` that opens step by step: the question, the 60-second answer, follow-ups,
mistakes, said then / say now, sources. Nothing but HTML and CSS, so it also opens where no kernel runs.
"""

import functools
import re
from collections.abc import Iterable
from importlib import resources

from trtlab.study.questions import LANGUAGES, Question, Text, chinese_characters, english_words, question
from trtlab.teach.drawing import Drawing, badge, chips, escape, table

_LANG = {"en": "en", "zh": "zh-CN"}
_STEPS = {
    "answer": Text(en="The 60-second answer", zh="60 秒口述答案"),
    "follow_ups": Text(en="Follow-up questions", zh="追问"),
    "mistakes": Text(en="Common mistakes", zh="常见错误"),
    "changes": Text(en="Said then, say now", zh="过去怎么说，现在怎么说"),
    "sources": Text(en="Sources and proofs", zh="出处与证明"),
}
_HEADER = (
    Text(en="Topic", zh="主题"),
    Text(en="Said for TensorRT 8", zh="TensorRT 8 时的说法"),
    Text(en="Said for 10", zh="10 时的说法"),
    Text(en="Say now: 11 and RTX 1.7", zh="现在的说法：11 与 RTX 1.7"),
)
_SAY_IT = Text(en="Say it aloud: start 60 seconds", zh="先自己说一遍：开始 60 秒计时")
_SPEAK = Text(
    en="Speak now, without reading. When the bar is full, open the answer and compare.",
    zh="现在开口，不看稿。进度条走满后，打开答案对照。",
)
_SOURCES, _PROOFS = Text(en="Sources", zh="出处"), Text(en="Proved by", zh="可运行的证明")
_SAID, _WHY = Text(en="Often said:", zh="常听到："), Text(en="In fact:", zh="其实：")


def say(question_id: str, *, language: str = "en") -> Drawing:
    """The card of a question, such as `say("Q3-01")`; `language`, "en" or "zh", is what it shows first.

    UnknownQuestion names the ids that are close; ValueError for another language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"the cards speak {' and '.join(LANGUAGES)}: got language={language!r}")
    asked = question(question_id)
    return Drawing(html=_markup(asked, language), text=_text(asked, language))


# --- HTML -----------------------------------------------------------------------------------------------------------


def _markup(asked: Question, language: str) -> str:
    bodies = {
        "answer": _answer(asked),
        "follow_ups": _follow_ups(asked),
        "mistakes": _mistakes(asked),
        "changes": _changes(asked),
        "sources": _sources(asked),
    }
    steps = "".join(_step(number, name, bodies[name], asked) for number, name in enumerate(_STEPS, 1))
    return (
        f'<style>{_stylesheet()}</style><section class="card say" aria-label="{escape(asked.id)}">'
        f"{_head(asked, language)}"
        f'<div class="ask" role="heading" aria-level="3">{_both(asked.question, "div")}</div>'
        f"{_clock()}{steps}</section>"
    )


@functools.cache
def _stylesheet() -> str:
    return resources.files("trtlab.teach").joinpath("static/saycard.css").read_text(encoding="utf-8")


def _head(asked: Question, language: str) -> str:
    """Id, topic, level, and one switch for the language; it needs no id, so cards never disturb each other."""
    checked = " checked" if language == "zh" else ""
    switch = (
        f'<label class="tongue push"><input type="checkbox" role="switch" aria-label="中文 (Chinese)"{checked}>'
        '<span lang="en">English</span><span class="sep"> / </span><span lang="zh-CN">中文</span></label>'
    )
    parts = [f"<b>{escape(asked.id)}</b>", badge(asked.level.value), f'<span class="by">{escape(asked.topic)}</span>']
    return f'<div class="head">{" ".join([*parts, switch])}</div>'


def _clock() -> str:
    bar = '<div class="time" aria-hidden="true"><div></div></div>'
    return f'<details class="clock"><summary>{_both(_SAY_IT)}</summary>{bar}{_both(_SPEAK, "div")}</details>'


def _step(number: int, name: str, body: str, asked: Question) -> str:
    title = f'<span class="n">{number}</span> {_both(_STEPS[name])} <span class="by">{_size(name, asked)}</span>'
    return f'<details class="step {name}"><summary>{title}</summary><div class="inside">{body}</div></details>'


def _size(name: str, asked: Question) -> str:
    """How much waits behind a closed step."""
    if name != "answer":
        return str(len(getattr(asked, name)))
    words, characters = english_words(asked.answer.en), chinese_characters(asked.answer.zh)
    return _both(Text(en=f"{words} words", zh=f"约 {characters} 字"))


def _answer(asked: Question) -> str:
    return "".join(
        f'<div class="spoken {language}" lang="{_LANG[language]}">'
        + "".join(f"<p>{_rich(line)}</p>" for line in getattr(asked.answer, language).splitlines())
        + "</div>"
        for language in LANGUAGES
    )


def _follow_ups(asked: Question) -> str:
    total = len(asked.follow_ups)
    return "".join(
        f'<details class="rung"><summary><span class="by">{number}/{total}</span> {_both(rung.question)}</summary>'
        f"{_both(rung.answer, 'div')}</details>"
        for number, rung in enumerate(asked.follow_ups, 1)
    )


def _mistakes(asked: Question) -> str:
    return "".join(
        f'<div class="mistake"><div class="heard">{_pair(_SAID, mistake.said)}</div>'
        f'<div class="truth">{_pair(_WHY, mistake.why)}</div></div>'
        for mistake in asked.mistakes
    )


def _changes(asked: Question) -> str:
    rows = [[_both(cell, "div") for cell in (row.topic, row.trt8, row.trt10, row.now)] for row in asked.changes]
    return table([_both(title) for title in _HEADER], rows)


def _sources(asked: Question) -> str:
    items = "".join(f"<li>{_source(source)}</li>" for source in asked.sources)
    proofs = " ".join(chips([f'claim("{name}")']) for name in asked.proofs)
    return f"<div>{_both(_SOURCES)}</div><ul>{items}</ul><div>{_both(_PROOFS)} {proofs}</div>"


def _source(source: str) -> str:
    if not source.startswith("https://"):
        return escape(source)
    return f'<a href="{escape(source)}" target="_blank" rel="noopener">{escape(source.removeprefix("https://"))}</a>'


def _both(text: Text, tag: str = "span") -> str:
    """Both languages, of which the style sheet shows one; a stripped page reads `English / 中文`."""
    if text.en == text.zh:
        return f"<{tag}>{_rich(text.en)}</{tag}>"
    between = '<span class="sep"> / </span>' if tag == "span" else ""
    return between.join(
        f'<{tag} class="{language}" lang="{_LANG[language]}">{_rich(getattr(text, language))}</{tag}>'
        for language in LANGUAGES
    )


def _pair(label: Text, text: Text) -> str:
    """A label and a sentence, language by language."""
    return "".join(
        f'<div class="{language}" lang="{_LANG[language]}"><b>{_rich(getattr(label, language))}</b>'
        f" {_rich(getattr(text, language))}</div>"
        for language in LANGUAGES
    )


def _rich(text: str) -> str:
    """Escaped text in which `backticks` became code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


# --- text -----------------------------------------------------------------------------------------------------------


def _text(asked: Question, language: str) -> str:
    def spoken(text: Text) -> str:
        return str(getattr(text, language))

    def part(name: str, lines: Iterable[str]) -> str:
        return "\n".join([spoken(_STEPS[name]).upper(), *lines])

    def line(label: Text, text: Text) -> str:
        return f"{spoken(label)} {spoken(text)}"

    columns = [spoken(title) for title in _HEADER]
    changes = [
        f"- {spoken(row.topic)}\n"
        + "\n".join(
            f"    {title}: {spoken(cell)}"
            for title, cell in zip(columns[1:], (row.trt8, row.trt10, row.now), strict=True)
        )
        for row in asked.changes
    ]
    return "\n\n".join(
        [
            f"{asked.id} [{asked.level.value}] {spoken(asked.question)}",
            part("answer", [spoken(asked.answer)]),
            part("follow_ups", [f"- {spoken(rung.question)}\n    {spoken(rung.answer)}" for rung in asked.follow_ups]),
            part("mistakes", [f"- {line(_SAID, m.said)}\n    {line(_WHY, m.why)}" for m in asked.mistakes]),
            part("changes", changes),
            part("sources", [f"- {source}" for source in asked.sources] + [", ".join(asked.proofs)]),
        ]
    )
