"""``python -m softprior``: the same as the command ``softprior``."""

import sys

from softprior.cli import main

sys.exit(main())
