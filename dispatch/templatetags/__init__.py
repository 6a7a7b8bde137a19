"""Template tags for users' own admin pages."""
