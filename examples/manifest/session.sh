#!/bin/sh
# A whole session of two steps under a manifest. Run it in an empty folder, with route.yaml beside this script:
#     mkdir work && cd work && sh .../examples/manifest/session.sh
# Everything it says is recorded in the folder; the journal in .rspp there is told of each update.
set -eu
route=$(dirname "$0")/route.yaml
echo "Ada" > names.txt
echo "Greet by name, politely." > brief.md

rspp manifest init --session greeting

# The first step needs no signal. What it must do is in route.yaml.
rspp manifest step begin --goal "The greeting is polite" --active-file greeting.txt
rspp manifest route --from "$route"
rspp manifest role SPC --ran --output brief.md
rspp manifest engine KEY:ENG.BUILD --run --output greeting.txt -- \
    sh -c 'echo "Good morning, $(cat names.txt)" > greeting.txt'
rspp manifest output GREETING --ref greeting.txt --source SPC
rspp manifest check KEY:VAL.WORDS -- grep -n "Good" greeting.txt
rspp manifest report
rspp manifest result pass --changed greeting.txt --patchset PATCHSET_0001 \
    --next-goal "The greeting knows the hour" --next-file greeting.txt

# The second one needs the signal, or the token. Its check finds a fault at first; PASS is refused until that is mended.
rspp manifest step begin --goal "The greeting knows the hour" --signal go --active-file greeting.txt
rspp manifest route --from "$route"
rspp manifest role SPC --ran --output brief.md
rspp manifest engine KEY:ENG.BUILD --run -- true
rspp manifest output GREETING --ref greeting.txt --source SPC
rspp manifest check KEY:VAL.WORDS -- grep -n "o'clock" greeting.txt || echo "the check found a fault, as it should"
rspp manifest result pass --done || echo "and PASS is refused, as it should be"

rspp manifest engine KEY:ENG.BUILD --run --output greeting.txt -- \
    sh -c 'echo "Good morning, $(cat names.txt), it is nine o'"'"'clock" > greeting.txt'
rspp manifest output GREETING --ref greeting.txt --source SPC
rspp manifest check KEY:VAL.WORDS -- grep -n "o'clock" greeting.txt
rspp manifest report
rspp manifest result pass --done --changed greeting.txt --patchset PATCHSET_0002

rspp manifest show
rspp manifest validate
rspp manifest trace
