"""Try it: a text, and what adapters make of it."""
