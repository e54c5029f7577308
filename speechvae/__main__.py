"""`python -m speechvae` is the `speechvae` command."""

import sys

from speechvae.cli import main

if __name__ == "__main__":
    sys.exit(main())
