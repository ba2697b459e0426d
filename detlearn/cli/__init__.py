"""The command line: ``detlearn data | train | evaluate | detect | grade | nbgrader | doctor``.

One file a command. Each has a line ABOUT it and its EXAMPLES for the help, `add_arguments`, and
`run`, which imports what it needs only then: torch takes seconds to import, and ``--help`` should
not wait for it.
"""

from detlearn.cli.parser import main

__all__ = ["main"]
