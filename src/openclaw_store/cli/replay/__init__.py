"""Plays a recorded or invented cluster through the library, kills parts of it on the way, and checks what is left."""
