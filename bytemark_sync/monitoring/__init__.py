"""What monitoring reads: health, metrics, logs. Also the watch for a silence."""
