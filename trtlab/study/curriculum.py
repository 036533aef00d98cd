"""study/curriculum: the notebooks, in the order in which they answer the sheet's three questions.

In: nothing. Out: frozen `Lesson`s, and those of them that are present in a folder. Notebook 00 draws them as its map.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """One notebook: the file's stem, the interview question it answers, what a learner can do afterwards, minutes."""

    file: str
    question: str
    outcome: str
    minutes: int

    @property
    def row(self) -> tuple[str, str, str, str]:
        """The lesson as a row of the map."""
        return self.file, self.question, self.outcome, str(self.minutes)


LESSONS = (
    Lesson(
        file="00_start_here",
        question="What can this machine do?",
        outcome="say what builds, what runs and what is recorded here, and how to study",
        minutes=10,
    ),
    Lesson(
        file="01_number_formats",
        question="Q1: which numeric precisions are there, and how do they differ?",
        outcome="take any code apart, and say what FP16, BF16, TF32 and FP8 are for and who computes in them",
        minutes=45,
    ),
    Lesson(
        file="02_four_bits_and_blocks",
        question="Q1: why do four bits need blocks, and what are INT4, FP4, NF4, MX and NVFP4?",
        outcome="quantise by hand, take NVFP4 apart to the bit, and choose a format for a distribution",
        minutes=60,
    ),
    Lesson(
        file="03_graph_optimization",
        question="Q2.1: what does TensorRT do to the graph, and why is the result faster?",
        outcome="fuse a network by hand, read NVIDIA's kernel list, and say what breaks a fusion",
        minutes=55,
    ),
    Lesson(
        file="08_workflow",
        question="Q3: how does the TensorRT workflow go, from export to answer?",
        outcome="run and explain every stage, and say which calls are history",
        minutes=60,
    ),
)


def lessons_in(folder: Path) -> tuple[Lesson, ...]:
    """The lessons whose notebook lies in `folder`. FileNotFoundError when the folder does not exist."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder. Expected the folder of the notebooks.")
    return tuple(lesson for lesson in LESSONS if (folder / f"{lesson.file}.ipynb").exists())
