"""Slack: the texts (messages), when they are sent (reporter), and how (delivery)."""
