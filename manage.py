#!/usr/bin/env python
"""Django's command line. Unusable settings end it with one clear line and exit status 2."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.stderr.write(f"Settings error: {error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
