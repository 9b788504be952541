"""The answers of a practice folder."""

from __future__ import annotations

from antiseche.practice import load
from antiseche.practice.folder import PracticeFolder
from antiseche.practice.schema import Practice


def load_answers(folder: PracticeFolder) -> Practice:
    """Load and check the answers of a practice.

    Raises:
        AnswersFileError: with every problem found.
    """
    return load.load_answers(folder.answers_file)
