"""What must not be kept of a session is found, and something of the same shape is put in its place.

patterns, spoken, secrets   where personal data and secrets stand in a text, typed or spoken
standins                    what stands in the place of a text: the same shape, and nothing to be had back
policy                      what may be kept, by class of payload and level; read from a file
forms, keywords             where a secret stands in what operators and machines say: reasons, metadata, lines of a log
streams                     texts that belong together are held until all of them are known
sounds                      the audio of what is masked is silence
session                     all of it, for one session's recorder
"""
