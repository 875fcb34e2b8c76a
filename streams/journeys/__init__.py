"""The stories that the events of a subject tell, one file each. Sessions and visits are followed by hand, because every website
event belongs to them; all others keep notes (`following.Journey`) or state facts of single events (a teller)."""
