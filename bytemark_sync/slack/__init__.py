"""Slack: every text (messages), when it is told (reporter), and how it gets there (delivery)."""
