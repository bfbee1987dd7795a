"""`python -m oasis` is the command `oasis`."""

from oasis.cli import main

if __name__ == "__main__":
    main()
