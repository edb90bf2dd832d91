"""Secrets: each kind is found and never shown; placeholders, prose, ids and hashes are not secrets.

Every secret here is drawn at run time, so that this file holds none.
"""

from __future__ import annotations

import base64
import importlib
import json
import random
import string
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lamina.guard import secrets
from lamina.guard.keywords import KeywordSearch
from lamina.guard.kinds import KINDS
from lamina.guard.masked_kinds import MASKED_KINDS
from lamina.guard.secrets import Secret, find_secrets
from lamina.guard.values import is_placeholder, is_wordy
from lamina.storage.records import new_id

_RANDOM = random.Random(20260301)
_HEX = "0123456789abcdef"
_ALNUM = string.ascii_letters + string.digits
_BASE32 = string.ascii_uppercase + "234567"
_WEB = _ALNUM + "-_"


def _draw(count: int, alphabet: str = _ALNUM) -> str:
    """Draw characters that no rule of thumb may take for a placeholder: all kinds of the alphabet are among them."""
    while True:
        drawn = "".join(_RANDOM.choice(alphabet) for _ in range(count))
        ends_alnum = drawn[0].isalnum() and drawn[-1].isalnum()
        has_digit = any(map(str.isdigit, drawn)) or not any(map(str.isdigit, alphabet))
        plain = is_placeholder(drawn) or is_wordy(drawn)
        if ends_alnum and has_digit and not plain and any(map(str.isalpha, drawn)):
            return drawn


def _jwt() -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).decode().rstrip("=")

    return ".".join([part({"alg": "HS256", "typ": "JWT"}), part({"sub": _draw(8), "iat": 1}), _draw(43, _WEB)])


def _pem(label: str, joint: str = "\n") -> str:
    body = joint.join(_draw(64, _ALNUM + "+/") for _ in range(6))
    return joint.join([f"-----BEGIN {label}-----", body, f"-----END {label}-----"])


POSITIVES: dict[str, tuple[str, Callable[[], str]]] = {
    "aws": ("AWS access key id", lambda: "AK" + "IA" + _draw(16, _BASE32)),
    "aws temporary": ("AWS access key id", lambda: "AS" + "IA" + _draw(16, _BASE32)),
    "aws secret": ("AWS secret access key", lambda: f"aws_secret_access_key = {_draw(40, _ALNUM + '/+')}"),
    "aws json": ("AWS secret access key", lambda: f'"SecretAccessKey": "{_draw(40, _ALNUM + "/+")}",'),
    **{
        f"github {prefix}": ("GitHub token", lambda prefix=prefix: f"{prefix}_{_draw(36)}")  # type: ignore[misc]
        for prefix in ("ghp", "gho", "ghu", "ghs", "ghr")
    },
    "github fine-grained": ("GitHub token", lambda: f"github_pat_{_draw(22)}_{_draw(59)}"),
    "gitlab": ("GitLab token", lambda: f"glpat-{_draw(20, _WEB)}"),
    "slack": ("Slack token", lambda: f"xoxb-{_draw(12, string.digits + 'a')}-{_draw(24)}"),
    "slack app": ("Slack token", lambda: f"xapp-1-A{_draw(10, _BASE32)}-5839201746-{_draw(64, _HEX)}"),
    "slack webhook": (
        "Slack webhook",
        lambda: f"https://hooks.slack.com/services/T{_draw(8, _BASE32)}/B{_draw(8, _BASE32)}/{_draw(24)}",
    ),
    "stripe": ("Stripe key", lambda: f"sk_live_{_draw(24)}"),
    "stripe long": ("Stripe key", lambda: f"rk_live_{_draw(99)}"),
    "anthropic": ("Anthropic key", lambda: f"sk-ant-api03-{_draw(95, _WEB)}"),
    "openrouter": ("OpenRouter key", lambda: f"sk-or-v1-{_draw(64, _HEX)}"),
    "openai": ("OpenAI key", lambda: f"sk-{_draw(20)}T3Blbk" + f"FJ{_draw(20)}"),
    "openai project": ("OpenAI key", lambda: f"sk-proj-{_draw(120, _WEB)}"),
    "google": ("Google API key", lambda: f"AIza{_draw(35, _WEB)}"),
    "google oauth": ("Google OAuth secret", lambda: f"GOCSPX-{_draw(28, _WEB)}"),
    "npm": ("npm token", lambda: f"npm_{_draw(36)}"),
    "pypi": ("PyPI token", lambda: f"pypi-AgEIcHlwaS5vcmc{_draw(120, _WEB)}"),
    "docker": ("Docker token", lambda: f"dckr_pat_{_draw(27, _WEB)}"),
    "hugging face": ("Hugging Face token", lambda: f"hf_{_draw(34, string.ascii_letters)}"),
    "groq": ("Groq key", lambda: f"gsk_{_draw(52)}"),
    "replicate": ("Replicate token", lambda: f"r8_{_draw(37)}"),
    "sendgrid": ("SendGrid key", lambda: f"SG.{_draw(22, _WEB)}.{_draw(43, _WEB)}"),
    "twilio": ("Twilio key", lambda: f"SK{_draw(32, _HEX)}"),
    "telegram": ("Telegram bot token", lambda: f"5839201746:AA{_draw(33, _WEB)}"),
    "azure": ("Azure key", lambda: f"AccountName=x;AccountKey={_draw(86, _ALNUM + '+/')}==;Suffix=core"),
    "digitalocean": ("DigitalOcean token", lambda: f"dop_v1_{_draw(64, _HEX)}"),
    "databricks": ("Databricks token", lambda: f"dapi{_draw(32, _HEX)}"),
    "shopify": ("Shopify token", lambda: f"shpat_{_draw(32, _HEX)}"),
    "grafana": ("Grafana token", lambda: f"glsa_{_draw(32)}_{_draw(8, _HEX)}"),
    "vault": ("HashiCorp Vault token", lambda: f"hvs.{_draw(90)}"),
    "linear": ("Linear key", lambda: f"lin_api_{_draw(40)}"),
    "postman": ("Postman key", lambda: f"PMAK-{_draw(24, _HEX)}-{_draw(34, _HEX)}"),
    "age": ("age secret key", lambda: f"AGE-SECRET-KEY-1{_draw(58, '023456789ACDEFGHJKLMNPQRSTUVWXYZ')}"),
    "jwt": ("JSON web token", _jwt),
    "pem": ("private key", lambda: _pem("PRIVATE KEY")),
    "pem rsa": ("private key", lambda: _pem("RSA PRIVATE KEY")),
    "pem openssh": ("private key", lambda: _pem("OPENSSH PRIVATE KEY")),
    "pem in json": ("private key", lambda: _pem("PRIVATE KEY", "\\n")),
    "pem in a list": ("private key", lambda: _pem("EC PRIVATE KEY", "\n    ")),
    "pgp": ("private key", lambda: _pem("PGP PRIVATE KEY BLOCK").replace("\n", "\nVersion: GnuPG v2\n\n", 1)),
    "postgres": ("database URL with a password", lambda: f"postgresql://app:{_draw(14)}@db.corp.net:5432/main"),
    "redis": ("database URL with a password", lambda: f"redis://:{_draw(20)}@10.0.0.3:6379/0"),
    "basic auth": ("URL with a password", lambda: f"https://deploy:{_draw(12)}@git.corp.net/x.git"),
    "google oauth token": ("Google OAuth token", lambda: f"ya29.{_draw(60, _WEB)}"),
    "basic authorization": (
        "basic authorization",
        lambda: "Authorization: Basic " + base64.b64encode(f"deploy:{_draw(16)}".encode()).decode(),
    ),
    "bearer": ("bearer token", lambda: f"curl -H 'Authorization: Bearer {_draw(40)}'"),
    "password in python": ("password", lambda: f'password = "{_draw(14)}!"'),
    "password in yaml": ("password", lambda: f"  db_password: {_draw(16)}"),
    "password in env": ("password", lambda: f"export PGPASSWORD={_draw(16)}"),
    "password in json": ("password", lambda: f'{{"passwd": "{_draw(6)}#{_draw(8)}"}}'),
    "password in prose": ("password", lambda: f"- **Password:** `{_draw(12)}$`"),
    "api key": ("key or token", lambda: f"api_key = '{_draw(32)}'"),
    "api key as hex": ("key or token", lambda: f"X-API-Key: {_draw(40, _HEX)}"),
    "client secret": ("key or token", lambda: f'clientSecret: "{_draw(30)}",'),
    "auth token": ("key or token", lambda: f"AUTH_TOKEN={_draw(40)}"),
}

VENDOR_POSITIVES: dict[str, tuple[str, Callable[[], str]]] = {
    "mailchimp": ("Mailchimp key", lambda: f"{_draw(32, _HEX)}-us12"),
    "square": ("Square secret", lambda: f"sq0csp-{_draw(43, _WEB)}"),
    "artifactory": ("Artifactory credentials", lambda: f"artifactory: AKC{_draw(40)} "),
    "discord": (
        "Discord bot token",
        lambda: f"discord M{_draw(23)}.{_draw(6)}.{_draw(27)}",
    ),
    "aws of other kinds": ("AWS access key", lambda: "AB" + "IA" + _draw(16, _BASE32)),
}

_PROSE = "The deploy runs on Mondays.\n\nSee the notes: "


@pytest.mark.parametrize("name", POSITIVES)
def test_every_kind_is_found_and_its_line_is_right(name: str) -> None:
    """A drawn secret of each form is found as its kind, once, in the third line; ten draws."""
    kind, make = POSITIVES[name]
    for _ in range(10):
        secret = make()
        assert find_secrets(f"{_PROSE}{secret}\nDone.\n") == (Secret(kind, 3),), secret
        assert find_secrets(f"{_PROSE}\n{secret}") == (Secret(kind, 4),), secret


def test_every_kind_of_ours_has_a_positive() -> None:
    """No kind stands in the table untried."""
    assert {kind.name for kind in KINDS} == {kind for kind, _ in POSITIVES.values()}


@pytest.mark.parametrize("name", VENDOR_POSITIVES)
def test_vendor_rules_add_their_kinds(name: str) -> None:
    """What only the rules of detect-secrets know is found through them."""
    pytest.importorskip("detect_secrets")
    kind, make = VENDOR_POSITIVES[name]
    for _ in range(10):
        secret = make()
        assert find_secrets(f"{_PROSE}{secret}\nDone.") == (Secret(kind, 3),), secret
        assert find_secrets(f"{'x ' * 5000}{secret} {'y ' * 5000}") == (Secret(kind, 1),), "a long line hides nothing"


def test_a_piece_of_a_longer_word_is_no_secret() -> None:
    """Encoded data may hold the form of a key by chance; a key stands alone, for our kinds and for the vendors'."""
    for _ in range(20):
        for prefix in ("AK" + "IA", "AB" + "IA", "SK", "AIza"):
            length, alphabet = (16, _BASE32) if prefix.endswith("IA") else (35, _HEX)
            assert find_secrets(f"{_PROSE}{_draw(9)}{prefix}{_draw(length, alphabet)}{_draw(9)}") == ()


@pytest.fixture
def without_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make detect-secrets impossible to import."""

    def refuse(name: str) -> object:
        raise ImportError(name)

    secrets._vendor_rule.cache_clear()
    monkeypatch.setattr(importlib, "import_module", refuse)
    yield
    secrets._vendor_rule.cache_clear()


def test_without_the_package_our_own_kinds_still_work(without_package: None) -> None:
    """A missing detect-secrets costs its kinds alone."""
    for kind, make in POSITIVES.values():
        assert find_secrets(f"{_PROSE}{make()}\n") == (Secret(kind, 3),)
    for _, make in VENDOR_POSITIVES.values():
        assert find_secrets(f"{_PROSE}{make()}\n") == ()


def test_the_secret_is_nowhere_in_the_answer() -> None:
    """A find knows kind and line and nothing else, so that no message can show it."""
    value = _draw(36)
    (found,) = find_secrets(f"token ghp_{value}")
    assert found.__slots__ == ("kind", "line")
    assert value not in repr(found)


def test_several_secrets_are_all_named_once_a_line() -> None:
    """Finds come by line; two of a kind in one line are one."""
    one, two, three = f"ghp_{_draw(36)}", f"npm_{_draw(36)}", f"ghp_{_draw(36)}"
    assert find_secrets(f"{one} {three}\n\n{two} and {one}") == (
        Secret("GitHub token", 1),
        Secret("GitHub token", 3),
        Secret("npm token", 3),
    )


PLACEHOLDERS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    "ghp_" + "x" * 36,
    "ghp_" + "1234567890" * 3 + "123456",
    "sk-" + "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijkl",
    "sk-ant-api03-...",
    "api_key = '<YOUR_API_KEY_1234>'",
    "API_KEY=${OPENAI_API_KEY_2}",
    "api_key: your-api-key-goes-here-123",
    'password = "********"',
    'password = "changeme123"',
    'password = "<PASSWORD>"',
    'password: "{{ vault_password_1 }}"',
    "PASSWORD=$DB_PASSWORD_1",
    "postgres://user:password@localhost:5432/db",
    "postgres://postgres:postgres@db/app",
    "https://user:pa55w0rd!x@example.com/",
    "mysql://root:${DB_PASS1}@db/app",
    "https://name:<token1>@git.corp.net",
    "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
    "A file that begins with -----BEGIN RSA PRIVATE KEY----- is refused.",
    "Authorization: Bearer <access-token-1234567890>",
    "Authorization: Bearer " + "x" * 40,
    # The token of jwt.io.
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + f".eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.{_draw(43)}",
    "f'postgres://app:{password_1}@db.corp.net/app'",
]


@pytest.mark.parametrize("text", PLACEHOLDERS)
def test_placeholders_are_no_secrets(text: str) -> None:
    """What documentation writes in the place of a secret is none."""
    assert find_secrets(f"{_PROSE}{text}\nDone.") == ()


HARMLESS = [
    "The password must have at least 12 characters; tokens expire after 3600 seconds.",
    "Password: must-be-12-characters-long",
    "password: Optional[str] = None",
    "password=os.environ['DB_PASSWORD_2']",
    "password = getpass.getpass('Password 2: ')",
    "token = settings.auth.token_v2",
    "token: config.auth.v2",
    "secret_name: prod/db/password-v2",
    "api_key_header = 'X-Api-Key-V2'",
    "token_count: 1234567890",
    "max_tokens: 200000",
    "key: value1234567890abc",
    "primary_key = 'a1b2c3d4e5f6g7h8'",
    "password_hash: $2b$12$abcdefghijkl1234567890",
    "next_page_token: none",
    "The task-force-1234567890 met; disk-usage-of-the-big-volume-is-12345678901234567890.",
    "mask-image-for-the-button-in-the-lower-right-corner-of-the-window",
    "Use sk-ant-, ghp_ and AKIA prefixes to recognise keys.",
    "ssh://git@github.com:22/x/y.git and git@github.com:x/y.git",
    "http://localhost:8080/a@b and https://host/path:x@y",
    "`[link](https://x.test/a:b@c)`",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk",
    "integrity sha512-" + base64.b64encode(bytes(range(64))).decode(),
    "SKILL and TASK and SKU-12345678901234567890123456789012",
    "At 10:AA we met. Flight 12345678:AA",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_prose_and_code_are_no_secrets(text: str) -> None:
    """Talking about secrets, code that handles them, and what only looks like them sets nothing off."""
    assert find_secrets(text) == ()


def test_ids_and_hashes_are_no_secrets() -> None:
    """Git's and other hashes, UUIDs and our own ids may stand anywhere, even where a token is named."""
    for _ in range(300):
        for value in (_draw(40, _HEX), _draw(64, _HEX), _draw(32, _HEX), _draw(8, _HEX), new_id(), str(uuid.uuid4())):
            assert find_secrets(f"Fixed in {value}, see id: {value} (commit={value})") == ()
        assert find_secrets(f"session token: {uuid.uuid4()}\nlast token: {new_id()}") == ()


def test_the_projects_own_pages_and_code_hold_none() -> None:
    """A million characters of documentation, code and prose about secrets set nothing off."""
    root = Path(__file__).parents[3]
    files = [*root.glob("docs/**/*.md"), *root.glob("src/**/*.py"), *root.glob("*.md")]
    assert len(files) > 100
    assert {str(file): found for file in files if (found := find_secrets(file.read_text("utf-8")))} == {}


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
@example("passw://:@\n-----BEGIN PRIVATE KEY-----")
@example("\u0130" * 20 + " discord xoxb-")
def test_no_text_breaks_it(text: str) -> None:
    """Whatever the text, the answer is a tuple of finds with lines that the text has."""
    for found in find_secrets(text):
        assert 1 <= found.line <= text.count("\n") + 1


def test_the_first_search_misses_no_keyword() -> None:
    """Each keyword of each kind is seen by the one search, in every case, with the place behind it."""
    lists = [kind.keywords for kind in KINDS + MASKED_KINDS] + [rule[3] for rule in secrets._VENDOR_RULES]
    search = KeywordSearch(lists)
    for number, keywords in enumerate(lists):
        for keyword in keywords:
            forms = {keyword, keyword.upper(), keyword.title()} if keyword.islower() else {keyword}
            for form in forms:
                assert 2 + len(form) in search.called(f"d {form} dddd")[number], form
                assert len(form) in search.called(f"{form}     ")[number], form


def test_text_without_keywords_imports_nothing() -> None:
    """Plain prose leaves the package unloaded, and so do our own kinds that it does not share."""
    code = (
        "import sys; from lamina.guard.secrets import find_secrets; "
        "assert find_secrets('The cat sat.\\n' * 1000) == (); "
        "assert find_secrets('the password is long; see https://x.test and the key') == (); "
        "sys.exit(any(name in sys.modules for name in ('detect_secrets', 'requests', 'yaml', 'urllib3')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ", "eyJaaaaaaaaaaaa.", "://a:", "://:", "sk-", "password=", 'password="', "-----BEGIN PRIVATE KEY-----\n",
        "xoxb-1-", "AKIA", "pwd:\t", "glpat-", "Bearer ", "-us1", "hooks.slack.com/services/T", "discord",
        "secret key = ", "aA1-", "=", "AccountKey=",
    ],
)  # fmt: skip
def test_no_text_makes_it_slow(piece: str) -> None:
    """The beginnings of secrets, repeated to 300,000 characters, take time in proportion."""
    text = (piece * (300_000 // len(piece))) + " key token secret xox"
    start = time.perf_counter()
    find_secrets(text)
    assert time.perf_counter() - start < 3
