"""What the bytes are: construct schemas and QEMU's constants. No I/O, no judgement."""
