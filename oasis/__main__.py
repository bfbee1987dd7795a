"""`python -m oasis` is the command `oasis`."""

import shlex
import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command; Ctrl-C or SIGTERM during its import also ends it with one line."""
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    try:
        signal.signal(signal.SIGTERM, end)
        from oasis import cli

        cli.main()
    except KeyboardInterrupt:
        command = shlex.join(["oasis", *sys.argv[1:]])
        sys.stderr.write(f"interrupted; all files are intact: begin again with  {command}\n")
        sys.exit(128 + (received[0] if received else signal.SIGINT))


if __name__ == "__main__":
    main()
