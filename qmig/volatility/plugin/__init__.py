"""The folder for `vol -p`: Volatility imports each file in it."""
