"""`python -m oasis` is the command `oasis`."""

import sys


def main() -> None:
    """Run the command; Ctrl-C during its import also ends it with one line."""
    try:
        from oasis import cli

        cli.main()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
