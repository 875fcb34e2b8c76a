"""Followers take a subject through its events and state the facts that follow: one file each for website events, voices, and notes."""
