"""``python -m detlearn.cli`` is ``detlearn``."""

import sys

from detlearn.cli.parser import main

sys.exit(main())
