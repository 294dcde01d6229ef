"""Text for people, versioned JSON for programs; the only code that prints, with `qmig.cli`."""
