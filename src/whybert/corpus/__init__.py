"""Many texts: where they come from, how they are worked on in order, and where the answers go."""
