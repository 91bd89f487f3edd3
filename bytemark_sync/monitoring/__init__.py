"""What monitors ask: health, metrics, logs."""
