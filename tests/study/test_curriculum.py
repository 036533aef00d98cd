"""study/curriculum: the lessons are the notebooks, in order."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from trtlab.study.curriculum import LESSONS, Lesson, lessons_in

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_every_notebook_is_a_lesson_and_every_lesson_a_notebook():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == {lesson.file for lesson in LESSONS}
    assert lessons_in(NOTEBOOKS) == LESSONS


def test_lessons_come_in_the_order_of_their_numbers():
    files = [lesson.file for lesson in LESSONS]
    assert files == sorted(set(files))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.file)
def test_a_lesson_says_what_it_answers_and_how_long_it_takes(lesson):
    assert lesson.row == (lesson.file, lesson.question, lesson.outcome, str(lesson.minutes))
    assert lesson.question.endswith("?")
    assert lesson.outcome[0].islower()  # "afterwards you can ..."
    assert 5 <= lesson.minutes <= 90
    with pytest.raises(FrozenInstanceError):
        lesson.minutes = 1


def test_only_what_is_there_is_offered(tmp_path):
    assert lessons_in(tmp_path) == ()
    (tmp_path / f"{LESSONS[1].file}.ipynb").touch()
    (tmp_path / "my_notes.ipynb").touch()
    assert lessons_in(tmp_path) == (LESSONS[1],)


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder\. Expected the folder of the notebooks\."):
        lessons_in(tmp_path / "nowhere")


def test_a_lesson_is_made_of_words_and_minutes():
    assert Lesson(file="f", question="q?", outcome="o", minutes=7).row == ("f", "q?", "o", "7")
