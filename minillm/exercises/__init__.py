"""The exercises of the book: a file with a hole, a check that says what is wrong, and hints.

``declaration.py`` defines an exercise, ``answering.py`` runs an answer, ``grading.py`` judges what
it returned, ``desk.py`` keeps the reader's files and progress, ``notebook.py`` checks an answer in
a notebook, and ``classroom.py`` grades the files of a class.  Each module ``chapterNN.py`` contains
the exercises of one chapter, and ``catalogue.py`` finds them.
"""

from minillm.exercises.catalogue import exercises
from minillm.exercises.notebook import check

__all__ = ["check", "exercises"]
