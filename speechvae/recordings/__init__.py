"""What starts from a recording: its reading, its reading performed, words of it said anew."""
