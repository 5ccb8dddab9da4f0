"""Pages for people: plain HTML that works without a script, from a keyboard, in light and dark."""
