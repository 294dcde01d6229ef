"""Taking guest memory out of a capture: RAM blocks, guest-physical images, LiME, ELF cores."""
