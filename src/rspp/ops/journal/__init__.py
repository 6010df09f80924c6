"""The state change journal: that something changed, when, and what it was. It is an index and a notification, never the truth.

bounds                    every limit
redaction                 metadata within its bounds and without secrets (what those look like: `rspp.timeline.redaction.forms`)
record                    what a record must be; how one is made of a change
pages                     how records lie in the store
index                     what is known of the pages: numbers, event ids
shelf                     the pages of one store, and the index that follows them
journal                   append, page, follow, status
reading, following        a page of records; every record as it comes
compaction                what is forgotten, and how that survives any crash
checking                  the whole journal, read again
writer                    a bounded queue in front of it, which never waits and never fails
"""
