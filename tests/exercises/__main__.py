"""Print the solutions of all exercises, for instructors: ``make solutions``.

They are the right answers of the tests of this folder.  The book does not include them.
"""

from minillm.exercises import exercises

from .answers import ANSWERS


def main() -> None:
    """Print a section for each exercise, in the order of the chapters."""
    answers = {answer.exercise: answer for answer in ANSWERS}
    print("# Solutions of the exercises, for instructors")
    for name, exercise in exercises().items():
        source = exercise.right or answers[name].filled(exercise.source)
        print(f"\n## Chapter {exercise.chapter}, {name}: {exercise.title}\n")
        print(
            f"Level {exercise.stars}, about {exercise.minutes} minutes.\n\n"
            f"```python\n{source.rstrip()}\n```"
        )
        if exercise.bugs:
            print("\nThe wrong versions of a line:\n")
        for variant, bug in enumerate(exercise.bugs):
            print(
                f"- variant {variant}, {bug.fault}: `{bug.right.strip()}` was `{bug.wrong.strip()}`"
            )


if __name__ == "__main__":
    main()
