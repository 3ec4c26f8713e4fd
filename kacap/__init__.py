"""kacap shows every TCP keepalive probe in a capture or on a live interface."""
