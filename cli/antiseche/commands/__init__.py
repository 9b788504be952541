"""One module per verb: parse options, call a room, render."""
