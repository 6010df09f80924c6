"""The record of a run of work: where it stands, and the proof of what was really executed.

document     the file's sections and keys, as they stand in it
updates      what can be said to it
rules        whether it may be said, and what the document is afterwards (pure)
proofs       what is missing for PASS (pure)
form         a document out of YAML or Markdown and back, with line and key of each fault; prose and comments stay
lock         one writer; the next is told who holds it and since when
trace        one line an update, each with the digest of the one before: written first, so that a crash loses nothing
changelog    for people
manifest     all of it together: open one, step by step
"""
