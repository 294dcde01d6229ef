"""Volatility 3 reads captures through qmig: guest-physical memory as a layer of its own.

What needs volatility3 is in `layer`, `stacker` and `command`; nothing else of qmig imports this
package. `plugin` is the folder for `vol -p`.
"""
