"""Files of this project and of other programs, read as data and written whole or not at all."""
