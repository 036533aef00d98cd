"""study/curriculum: the notebooks, in the order in which they answer the sheet's three questions.

In: words/lessons, words/planned. Out: frozen `Lesson`s, those of them that are present in a folder, and what is
planned. Notebook 00 draws its map.
"""

from dataclasses import dataclass
from pathlib import Path

from trtlab.study import bank
from trtlab.study.bank import Words


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A notebook: the file's stem, the interview question it answers, what a learner can do afterwards, minutes."""

    name: str
    question: Words
    outcome: Words
    minutes: int


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A notebook that is not written yet."""

    name: str
    question: Words


LESSONS = tuple(bank.read("lessons", Lesson).values())


def lessons_in(folder: Path) -> tuple[Lesson, ...]:
    """The lessons whose notebook lies in `folder`. FileNotFoundError when the folder does not exist."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder. Expected the folder of the notebooks.")
    return tuple(lesson for lesson in LESSONS if (folder / f"{lesson.name}.ipynb").exists())


def planned_in(folder: Path) -> dict[str, Words]:
    """What the notebooks ask that do not lie in `folder` yet, by name."""
    planned = bank.read("planned", Planned).values()
    return {one.name: one.question for one in planned if not (folder / f"{one.name}.ipynb").exists()}
