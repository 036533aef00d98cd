"""study/quizzes/__main__: `python -m trtlab.study.quizzes` records the truths that need a compiler."""

from trtlab.study.quizzes import found

if __name__ == "__main__":
    found.record()
    print(f"wrote {found.RECORDED.name}")
