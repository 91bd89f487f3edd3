"""The system checks of `manage.py check`, and what is refused before any work begins."""
