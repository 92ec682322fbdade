"""Speed, by hand: each module boots what it needs, closes it, and prints one JSON object as its last line."""
