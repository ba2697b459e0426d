"""``python -m detlearn.cli`` is ``detlearn``."""

import sys

from detlearn.cli.main import main

sys.exit(main())
