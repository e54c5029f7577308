"""Directing readings: drawing them, choosing, changing by hand, re-rolling, blending."""
