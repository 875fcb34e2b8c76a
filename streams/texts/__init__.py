"""What a text says beyond its standard score: a normal form, the language it is in, and what it complains about."""
