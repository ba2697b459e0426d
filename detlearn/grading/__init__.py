"""For instructors: grade a folder of submissions, and export the exercises to graders.

- submissions.py reads what was handed in, statements.py says which names each statement of it gives
  and takes, slicing.py finds the few to run.
- worker.py runs them in a process of its own, confinement.py takes that process's rights away,
  references.py puts the package's own functions out of bounds, tasks.py asks the questions,
  wire.py brings the answers back.
- examiner.py compares one submission's answers, grader.py works through a folder, journal.py
  remembers, tables.py writes the results.
- exports.py and nbgrader.py make courses for nbgrader, whose test cells call strict.py.
"""
