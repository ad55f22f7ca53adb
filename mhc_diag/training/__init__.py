"""What a watched run shows of itself: in a terminal, on a page, and while it goes on."""
