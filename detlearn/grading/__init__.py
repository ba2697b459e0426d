"""For instructors: grade a folder of submissions.

- submissions.py reads what was handed in, slicing.py finds the few statements of it to run.
- box.py builds a sandbox for them, loader.py brings the package there, calls.py forbids what would
  lead out; inside.py asks the questions, wire.py brings the answers back.
- pieces.py takes the package apart, view.py puts together what an exercise may see of it, with
  missing.py in place of everything else.
- examiner.py compares one submission's answers, grader.py works through a folder, journal.py
  remembers, tables.py writes the results.
"""
