"""What `manage.py check` looks at, and what is refused before any work is done."""
