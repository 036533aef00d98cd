"""study/curriculum: the lessons are the notebooks, in order."""

from pathlib import Path

import pytest

from trtlab.study.curriculum import LESSONS, lessons_in, planned_in

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_every_notebook_is_a_lesson_and_every_lesson_a_notebook_in_order():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == [lesson.name for lesson in LESSONS]
    assert lessons_in(NOTEBOOKS) == LESSONS


def test_a_lesson_says_what_it_answers_and_how_long_it_takes():
    for lesson in LESSONS:
        assert lesson.question.en.endswith("?")
        assert lesson.question.zh.endswith("？")
        assert lesson.outcome.en[0].islower()  # "afterwards you can ..."
        assert 5 <= lesson.minutes <= 90


def test_only_what_is_there_is_offered(tmp_path):
    (tmp_path / f"{LESSONS[1].name}.ipynb").touch()
    (tmp_path / "my_notes.ipynb").touch()
    assert lessons_in(tmp_path) == (LESSONS[1],)
    assert not {lesson.name for lesson in LESSONS} & set(planned_in(NOTEBOOKS))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        lessons_in(tmp_path / "nowhere")
