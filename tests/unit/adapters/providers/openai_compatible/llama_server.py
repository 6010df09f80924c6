"""A server of somebody else's that speaks the OpenAI API: llama.cpp's. Run as a program; ends with its standard input."""

from __future__ import annotations

import sys

import xllamacpp  # type: ignore[import-untyped]


def main(model: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"small"}
    params.n_ctx = 1024
    params.n_parallel = 2
    params.cpuparams.n_threads = 1
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = ["sk-of-the-test"]
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
