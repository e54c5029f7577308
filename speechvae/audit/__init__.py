"""Which clips of a corpus deserve an ear."""
