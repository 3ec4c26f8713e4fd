"""Commands: parse, call, render; one thin file each."""
