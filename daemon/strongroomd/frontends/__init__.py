"""Doors: each turns its protocol into use cases of custody."""
