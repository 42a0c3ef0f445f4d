"""`python -m covidcx`."""

import sys

from covidcx.cli import main

if __name__ == "__main__":
    sys.exit(main())
