"""What the voice says: sentences as random variables, too. Texts, tokens, decoding, and the writer that users meet."""
