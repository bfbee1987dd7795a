"""Files of this and other programs, read as data, never as code, and written completely or not at all."""
