"""Secrets as people leave them in files, each drawn anew: no file of this project holds one of them."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from typing import Final

ALNUM: Final = string.ascii_letters + string.digits
LOWER: Final = string.ascii_lowercase + string.digits
UPPER: Final = string.ascii_uppercase + string.digits
HEX: Final = "0123456789abcdef"
BASE32: Final = string.ascii_uppercase + "234567"

_MAKER: Final = "slack"

# A shape: what is written into a file, and the part of it that must never be seen again.
Planted = tuple[str, str]
Plant = Callable[[random.Random], Planted]


def drawn(source: random.Random, size: int, of: str = ALNUM) -> str:
    """Drawn as a maker draws: a token of one kind of character alone is drawn again."""
    while True:
        text = "".join(source.choices(of, k=size))
        kinds = (str.isdigit, str.isalpha)
        is_mixed = of is not ALNUM or (any(map(str.isupper, text)) and any(map(str.islower, text)))
        if all(any(map(kind, text)) for kind in kinds) and is_mixed and not _runs(text):
            return text


def _runs(text: str) -> bool:
    return any(text[at] == text[at + 1] == text[at + 2] == text[at + 3] for at in range(len(text) - 3))


def _token(prefix: str, size: int, of: str = ALNUM, around: str = "{}") -> Plant:
    def plant(source: random.Random) -> Planted:
        secret = prefix + drawn(source, size, of)
        return around.format(secret), secret[len(prefix) :]

    return plant


def _written(form: str, size: int = 32, of: str = ALNUM) -> Plant:
    return _token("", size, of, form)


def _key_body(source: random.Random) -> str:
    raw = base64.b64encode(source.randbytes(600)).decode()
    return "\n".join(raw[at : at + 64] for at in range(0, len(raw), 64))


def _pem(kind: str) -> Plant:
    def plant(source: random.Random) -> Planted:
        body = _key_body(source)
        return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----\n", body[70:120]

    return plant


def _pem_in_json(source: random.Random) -> Planted:
    body = _key_body(source)
    pem = f"-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"
    return json.dumps({"type": "service_account", "private_key": pem}), body[70:120]


def _pem_wrapped(source: random.Random) -> Planted:
    body = _key_body(source)
    raw = base64.b64encode(f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END".encode()).decode()
    return f"client-key-data: {raw}", raw[100:160]


def _putty(source: random.Random) -> Planted:
    body = _key_body(source)
    return f"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 14\n{body}\n", body[70:120]


def _jwk(source: random.Random) -> Planted:
    secret = drawn(source, 43)
    return json.dumps({"kty": "EC", "crv": "P-256", "d": secret}), secret


def _jwt(source: random.Random) -> Planted:
    parts = [json.dumps({"alg": "RS256"}), json.dumps({"sub": "u1", "n": source.randrange(10**9)})]
    coded = [base64.urlsafe_b64encode(one.encode()).decode().rstrip("=") for one in parts]
    signature = drawn(source, 86)
    return f"token {'.'.join(coded)}.{signature}", signature


def _basic(source: random.Random) -> Planted:
    secret = drawn(source, 16)
    coded = base64.b64encode(f"deploy:{secret}".encode()).decode()
    return f"curl -H 'Authorization: Basic {coded}' https://api.test/", coded


def _docker(source: random.Random) -> Planted:
    coded = base64.b64encode(f"robot:{drawn(source, 20)}".encode()).decode()
    return json.dumps({"auths": {"registry.test": {"auth": coded}}}), coded


SHAPES: Final[dict[str, Plant]] = {
    "typed": _written('API_KEY: Final[str] = "{}"'),
    "in_brackets": _written('api_key = (\n    "{}"\n)', 40),
    "commented": _written("# api_key: {}"),
    "yaml_block": _written("password: |\n  {}", 24),
    "docker_env_spaced": _written("ENV API_KEY {}"),
    "header_word": _written("curl -H 'x-api-key: {}' https://api.test/"),
    "terraform": _written('variable "db_password" {{ default = "{}" }}', 20),
    "xml_attribute": _written('<add key="ApiKey" value="{}"/>'),
    "with_a_dollar": _written('password = "{}$aB7f"', 16),
    "many_signs": _written('SECRET_KEY = "k8*2@x!m(4n&q=r7{}u9)w+e_z$c%v-b5"', 8, LOWER),
    "at_in_a_password": _written("redis://:p@{}@cache:6379/0", 12),
    "rsa_key": _pem("RSA "),
    "ec_key": _pem("EC "),
    "openssh_key": _pem("OPENSSH "),
    "pkcs8_key": _pem(""),
    "encrypted_key": _pem("ENCRYPTED "),
    "key_in_json": _pem_in_json,
    "key_in_base64": _pem_wrapped,
    "putty_key": _putty,
    "jwk": _jwk,
    "age_key": _token("AGE-SECRET-KEY-1", 58, UPPER),
    "aws_key_id": _token("AKIA", 16, BASE32),
    "aws_secret": _written("aws_secret_access_key = {}", 40),
    "github_classic": _token("ghp_", 36),
    "github_fine": _token("github_pat_", 82),
    "gitlab": _token("glpat-", 20),
    "slack_bot": _token("xoxb-", 50),
    "slack_app": _token("xapp-1-", 60),
    "slack_hook": _token(f"https://hooks.{_MAKER}.com/services/T00/B00/", 24),
    "google_api": _token("AIza", 35),
    "google_oauth": _token("ya29.", 80),
    "google_client": _token("GOCSPX-", 28),
    "stripe_live": _token("sk_live_", 24),
    "stripe_hook": _token("whsec_", 32),
    "openai": _token("sk-proj-", 48),
    "anthropic": _token("sk-ant-api03-", 93),
    "elevenlabs": _token("sk_", 48, HEX),
    "sendgrid": lambda source: (f"SG.{(a := drawn(source, 22))}.{(b := drawn(source, 43))}", f"{a}.{b}"),
    "mailgun": _token("key-", 32, HEX),
    "mailchimp": lambda source: (f"{(a := drawn(source, 32, HEX))}-us14", a),
    "twilio": _token("SK", 32, HEX),
    "npm": _token("npm_", 36),
    "pypi": _token("pypi-AgEIcHlwaS5vcmc", 120),
    "docker_hub": _token("dckr_pat_", 27),
    "huggingface": _token("hf_", 34),
    "groq": _token("gsk_", 52),
    "nvidia": _token("nvapi-", 64),
    "digitalocean": _token("dop_v1_", 64, HEX),
    "shopify": _token("shpat_", 32, HEX),
    "databricks": _token("dapi", 32, HEX),
    "vault": _token("hvs.", 90),
    "grafana": _token("glsa_", 41),
    "telegram": lambda source: (f"{source.randrange(10**8, 10**9)}:A{(a := drawn(source, 34))}", a),
    "nats_seed": _token("SU", 56, BASE32),
    "jwt": _jwt,
    "azure_storage": lambda source: (
        f"AccountName=acc;AccountKey={(a := base64.b64encode(source.randbytes(64)).decode())};EndpointSuffix=x",
        a,
    ),
    "sql_connection": _written("Server=db.test;User Id=sa;Password={};Encrypt=yes", 18),
    "url_password": _written("postgres://app:{}@db.test:5432/calls", 14),
    "url_token": _written("wss://voice.test/v1/listen?access_token={}", 32),
    "bearer": _written("Authorization: Bearer {}", 40),
    "basic": _basic,
    "docker_config": _docker,
    "netrc": _written("machine api.test login bot password {}", 12),
    "npmrc": _written("//registry.test/:_authToken={}", 36),
    "curl_user": _written("curl -s -u admin:{} https://api.test/x", 14),
    "python_keyword": _written('client = Client(api_key="{}", retries=3)'),
    "yaml_value": _written("providers:\n  deepgram:\n    api_key: {}\n", 40, HEX),
    "json_value": _written('{{"client_secret": "{}"}}'),
    "shell_export": _written("export DEEPGRAM_API_KEY={}", 40, HEX),
    "kubernetes_env": _written("- name: STT_API_KEY\n  value: {}\n", 32),
    "flag": _written("rspp serve --api-key {} --listen 127.0.0.1:0", 32),
    "typescript": _written("const authToken: string = '{}';", 32),
    "go_assignment": _written('secretKey := "{}"', 24),
    "xml_tag": _written("<password>{}</password>", 20),
    "passed_pair": _written('os.environ.setdefault("API_TOKEN", "{}")', 32),
    "htpasswd": _written("ops:$apr1$a1B2c3D4${}", 22),
}
