"""`python -m trtlab` is `trtlab`."""

import sys

from trtlab.cli import main

sys.exit(main())
