"""Scenes: a scripted client and a scripted origin on socket pairs, with the whole proxy between them.

No network, no sleeping, no trio: a loop is turned until nothing more happens, and time is a given
clock. A scene (`script`) is a table of what each side writes and expects; `replay` plays it whole, with
every write split in two, and with either side closing after every byte, plain and over TLS.
"""
