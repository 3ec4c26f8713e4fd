"""From kinds to episodes, and from gaps to the settings that could have produced them."""
