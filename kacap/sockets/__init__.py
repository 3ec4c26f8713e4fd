"""Live sockets: keepalive applied and read back on each operating system."""
