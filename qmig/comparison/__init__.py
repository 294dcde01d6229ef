"""What differs between two captures: sections, fields of devices, pages of RAM."""
