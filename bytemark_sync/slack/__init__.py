"""What Slack is told, and how it gets there."""
