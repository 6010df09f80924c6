"""Secrets are looked for in the files of a project, and never repeated.

tree      which files are looked at, and which are not and why
reading   what a file says: text in its encodings, or the readable parts of anything else
drawn     was a text drawn at random, or thought up?
shapes    how secrets are written, as a table
"""
