"""supervise.py ARGUMENT...: supervisord, which goes on when the disk is full.

What it cannot write to a log it says on standard error. When it cannot write that either, since that is a file on the same disk,
it closes the pipe that the line came by, and soon ends, and with it all that it runs.
"""
import os
import sys

from supervisor import supervisord


class Standard:
    """Standard error; what cannot be written is lost."""

    def write(self, text):
        try:
            os.write(2, text.encode("utf-8", "replace"))
        except OSError:
            pass
        return len(text)

    def flush(self):
        """Nothing is kept."""


if __name__ == "__main__":
    sys.stderr = Standard()
    supervisord.main()
