"""For instructors: grade a folder of submissions, and export the exercises to graders.

- submissions.py reads what was handed in, slicing.py finds the few statements of it to run.
- box.py builds a sandbox for them, in which view.py puts the package without the answers (and
  missing.py in place of these); inside.py asks the questions there, wire.py brings the answers
  back.
- examiner.py compares one submission's answers, grader.py works through a folder, journal.py
  remembers, tables.py writes the results.
- exports.py and nbgrader.py make courses for nbgrader, whose test cells call strict.py.
"""
