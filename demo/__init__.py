"""The demo page. It uses the package as any other program would."""
