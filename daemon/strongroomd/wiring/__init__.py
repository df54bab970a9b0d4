"""The only room that knows every other: it builds a worker's object graph, and founds a new installation."""

from strongroomd.wiring.assembly import assemble
from strongroomd.wiring.founding import complete_house, founded_tokens, initialise, initialise_token

__all__ = ["assemble", "complete_house", "founded_tokens", "initialise", "initialise_token"]
