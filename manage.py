#!/usr/bin/env python
"""Django's command line. Unusable settings end it with status 2, a failing database with 1. Each prints one line."""

import gc
import os
import signal
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    # Objects made at start-up live to the end. Collecting garbage among them takes a third of a short command's time.
    gc.disable()
    # While modules load, Ctrl-C ends the process at once. The import machinery would swallow a KeyboardInterrupt in one
    # of its callbacks: 1 of 250 interrupts was lost, and the command went on.
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import BaseCommand, ManagementUtility
    from django.db import DatabaseError, InterfaceError

    from bytemark_sync import __version__

    class Utility(ManagementUtility):
        def execute(self) -> None:
            """`--version` alone, and of any command, gives the product's version. `version` gives Django's."""
            if ["--version"] in (self.argv[1:], self.argv[2:]):
                sys.stdout.write(f"{__version__}\n")
            else:
                super().execute()

        def fetch_command(self, subcommand: str) -> BaseCommand:
            gc.freeze()
            gc.enable()
            command = super().fetch_command(subcommand)
            signal.signal(signal.SIGINT, interrupt)
            return command

    try:
        Utility(sys.argv).execute()
        sys.stdout.flush()
    except ImproperlyConfigured as error:
        sys.stderr.write(f"Settings error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except (DatabaseError, InterfaceError) as error:
        if "--traceback" in sys.argv:
            raise
        from bytemark_sync.monitoring.logs import last_words
        from bytemark_sync.storage.database_retry import explain

        last_words(f"Database error: {explain(error)}")
        sys.exit(1)
    except OSError as error:
        if "--traceback" in sys.argv:
            raise
        # Standard output is closed, or its disk is full. What is still buffered must not raise a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        if not isinstance(error, BrokenPipeError):
            sys.stderr.write(f"Error: {error.strerror or error}\n")
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
