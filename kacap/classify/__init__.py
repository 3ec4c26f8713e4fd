"""From segments to kinds: a kind and a grade of evidence for each segment."""
