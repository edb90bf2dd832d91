"""Secrets are masked in every field; every secret here is drawn at run time, so that this file holds none."""

from __future__ import annotations

import base64
import json
import random
import re
import string
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lamina
from lamina import Sessions
from lamina.guard.kinds import KINDS as EXACT_KINDS
from lamina.guard.kinds import SecretKind
from lamina.guard.masked_kinds import MASKED_KINDS
from lamina.guard.values import is_placeholder, is_wordy
from lamina.sessions.masking import Masker, mask
from lamina.sessions.values import Call, Turn

_RANDOM = random.Random(20261125)
_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"
_UPPER = string.ascii_uppercase + string.digits


def draw(count: int, alphabet: str = _ALNUM) -> str:
    """Draw characters with letters and digits among them, as a machine does."""
    while True:
        drawn = "".join(_RANDOM.choice(alphabet) for _ in range(count))
        digits = sum(map(str.isdigit, drawn))
        if 2 <= digits < count and not is_placeholder(drawn) and not is_wordy(drawn):
            return drawn


def basic() -> str:
    """Name and password as a header has them."""
    return base64.b64encode(f"deploy:{draw(16)}".encode()).decode()


# What stands around a secret (``@``), and how it is drawn.
KINDS: dict[str, tuple[str, Callable[[], str]]] = {
    "GitHub": ("use ghp_@ now", lambda: draw(36)),
    "AWS in the environment": ("export AWS_SECRET_ACCESS_KEY=@", lambda: draw(40)),
    "AWS in a file": ("aws_secret_access_key = @", lambda: draw(40)),
    "AWS in JSON": ('{"SecretAccessKey": "@"}', lambda: draw(40)),
    "AWS id": ("AK" + "IA@", lambda: draw(16, _UPPER)),
    "Stripe": ("sk_" + "live_@", lambda: draw(24)),
    "Stripe restricted": ("rk_" + "live_@", lambda: draw(24)),
    "SendGrid": ("SG" + ".@", lambda: f"{draw(22)}.{draw(43)}"),
    "token in the environment": ("API_TOKEN=@", lambda: draw(24)),
    "token in YAML": ("token: @", lambda: draw(24)),
    "token in JSON": ('{"token": "@"}', lambda: draw(24)),
    "token before a command": ("GITHUB_TOKEN=@ gh pr list", lambda: draw(24)),
    "token in escaped JSON": ('{\\"auth_token\\": \\"@\\"}', lambda: draw(24)),
    "option": ("mysql --password @ -u root", lambda: draw(20)),
    "short option": ("mysql -u root -p@", lambda: draw(20)),
    "sshpass": ("sshpass -p '@' ssh host", lambda: draw(12)),
    "curl": ("curl -s -u deploy:@ https://host/x", lambda: draw(12)),
    "short password": ("password=@", lambda: draw(6)),
    "password with a dollar": ("password=@", lambda: f"Ab${draw(12)}"),
    "password with an ampersand": ("password='@'", lambda: f"Ab&{draw(12)}"),
    "password with spaces": ('password="@"', lambda: f"my {draw(12)} pw"),
    "password in a block": ("password: >-\n  @", lambda: draw(20)),
    "database without a user": ("redis://:@@host:6379/0".replace("@@", "\0@"), lambda: draw(16)),
    "database": ("postgres://u:\0@host/db", lambda: draw(16)),
    "address in capitals": ("HTTPS://u:\0@host/db", lambda: draw(16)),
    "address with a slash": ("postgres://u:\0@host/db", lambda: f"{draw(8)}/{draw(8)}"),
    "basic": ("Authorization: Basic @", basic),
    "authorization with a token": ("Authorization: token @", lambda: draw(40)),
    "authorization alone": ("authorization: @", lambda: draw(40)),
    "bearer": ("-H 'Authorization: Bearer @'", lambda: draw(40)),
    "header": ("X-Api-Key: @", lambda: draw(32)),
    "cookie": ("Cookie: session=@; theme=dark", lambda: draw(32)),
    "cookie behind short ones": ("Cookie: a=1; b=2; session=@", lambda: draw(32)),
    "PGP": (
        "-----BEGIN PGP PRIVATE" + " KEY BLOCK-----\n\n@\n-----END PGP PRIVATE KEY BLOCK-----",
        lambda: f"{draw(64)}\n{draw(64)}",
    ),
    "RSA": ("-----BEGIN RSA PRIVATE" + " KEY-----\n@\n-----END RSA PRIVATE KEY-----", lambda: draw(64)),
    "a key that is cut": ("-----BEGIN RSA PRIVATE" + " KEY-----\n@", lambda: f"{draw(64)}\n{draw(64)}\n{draw(40)}"),
    "age": ("AGE-SECRET-" + "KEY-1@", lambda: draw(58, _UPPER)),
    "Slack webhook": ("https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/@", lambda: draw(24)),
    "Slack": ("xox" + "b-@", lambda: f"{draw(24)}-{draw(24)}"),
    "Slack app": ("xapp" + "-1-@", lambda: draw(40)),
    "Google secret": ("GOCS" + "PX-@", lambda: draw(24)),
    "Google token": ("ya" + "29.@", lambda: draw(60)),
    "Google key": ("AI" + "za@", lambda: draw(35)),
    "Azure": ("AccountName=x;Account" + "Key=@;Suffix=y", lambda: base64.b64encode(_RANDOM.randbytes(64)).decode()),
    "DigitalOcean": ("dop" + "_v1_@", lambda: draw(64, _HEX)),
    "Shopify": ("shp" + "at_@", lambda: draw(32, _HEX)),
    "Vault": ("hv" + "s.@", lambda: draw(24)),
    "Docker": ("dckr" + "_pat_@", lambda: draw(27)),
    "OpenAI": ("sk" + "-@", lambda: draw(48)),
    "Anthropic": ("sk" + "-ant-api03-@", lambda: draw(80)),
    "GitLab": ("gl" + "pat-@", lambda: draw(20)),
    "GitLab deploy": ("gl" + "dt-@", lambda: draw(20)),
    "web token": ("@", lambda: f"eyJ{draw(20)}.eyJ{draw(30)}.{draw(43)}"),
    "web token behind a dash": ("x-@", lambda: f"eyJ{draw(20)}.eyJ{draw(30)}.{draw(43)}"),
    "web token of a long key": ("@", lambda: f"eyJ{draw(20)}.eyJ{draw(9_000)}.{draw(1_366)}"),
    "npm": ("//registry.npmjs.org/:_authToken=@", lambda: draw(36)),
    "netrc": ("machine h login u password @", lambda: draw(24)),
    "passphrase": ("passphrase: @", lambda: draw(24)),
    "pwd": ("DB_PWD=@", lambda: draw(24)),
    "client secret": ("client_secret=@", lambda: draw(24)),
    "private key as a number": ("PRIVATE_KEY=0x@", lambda: draw(64, _HEX)),
    "key in an address": ("https://x/y?access_key=@&page=1", lambda: draw(24)),
    "token in an address": ("https://x/y?token=@", lambda: draw(24)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_masked_in_a_turn(s: Sessions, name: str) -> None:
    """Of a drawn secret of each kind nothing is left in a turn, in arguments and in a result; five draws."""
    around, make = KINDS[name]
    mark = "\0" if "\0" in around else "@"
    run = s.start("run-1")
    drawn = []
    for _ in range(5):
        drawn.append(make())
        text = around.replace(mark, drawn[-1])
        run.turn("user", f"first this\n{text}\nthen that")
        run.call("Bash", arguments={"command": text}, result=text)
    found = repr(list(s.events("run-1")))

    for secret in drawn:
        assert not any(part in found for part in secret.split() if len(part) > 4), secret
    assert "then that" in found


@pytest.mark.parametrize(
    "text",
    [
        "password: Optional[str] = None",
        "password=os.environ['DB_PASSWORD']",
        "def login(user, password=password, token=token):",
        "the token count is 512, the secret is patience",
        "max_tokens: 200000, next_token: none",
        "username, password = get_auth_from_url(url)",
        "which account this token belongs to, and the username and password quoting.",
        "run --secrets KEY=value --token-file x",
        "api_key=settings.api_key, base_url=settings.base_url",
        "PASSWORD=$DB_PASSWORD_1",
        '{"password": "<your password>", "required": ["password"]}',
        "Enter the password: it must have at least 12 characters",
        "mkdir -p src/app && mysqldump --port 3306 db",
        "https://host:8080/a@b and git@github.com:x/y.git",
        "Authorization: required; Cookie: none",
        "the primary_key = 'a1b2c3d4e5f6g7h8'",
        "curl -s https://example.org/x",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """Code and prose about secrets are left as they are."""
    assert mask(text) == (text, 0)


def test_names_and_values_of_json_are_masked() -> None:
    """A secret is masked as the name of a value, and a value by its name; what is nested deeply is masked as text."""
    token, password = f"ghp_{draw(36)}", draw(12)
    deep: object = {"text": token}
    for _ in range(600):
        deep = [deep]
    masker = Masker()
    value = masker.value({token: 1, "password": password, "a": [{"auth_token": draw(20)}], "deep": deep})

    assert token not in repr(value)
    assert password not in repr(value)
    assert value["a"] == [{"auth_token": "[masked: password]"}]
    assert masker.count == 4


def test_no_field_of_the_catalog_holds_a_secret(tmp_path: Path) -> None:
    """A secret that is put into every field of sessions and patterns is nowhere in the bytes of the store."""
    drawn: list[str] = []

    def secret() -> str:
        drawn.append(draw(36))
        return f"ghp_{drawn[-1]}"

    def lines(name: str, *records: object) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    with lamina.open(tmp_path / "store", embedder="none") as store:
        s, p = store.sessions, store.patterns
        run = s.start(
            secret(), agent=secret(), project=f"/p/{secret()}", title=secret(), metadata={secret(): {"a": secret()}}
        )
        run.turn(secret(), f"{'x' * (1_000_000 - 30)} {secret()}")
        run.call(secret(), arguments={secret(): [secret()]}, files=[f"/p/{secret()}"], error=f"{'x' * 1970} {secret()}")
        run.call("Bash", arguments=f"GITHUB_TOKEN={secret()} gh", result=f"{'x' * (1_000_000 - 30)} {secret()}")
        own = {"type": "session", "id": secret(), "agent": secret(), "project": f"/{secret()}", "title": secret()}
        s.import_file(
            lines(
                "own.jsonl",
                {**own, "metadata": {secret(): secret()}},
                {"type": "turn", "role": secret(), "text": secret(), "key": secret()},
                {"type": "call", "tool": secret(), "arguments": {secret(): 1}, "files": [secret()], "error": secret()},
            )
        )
        message = {"content": [{"type": "tool_use", "id": secret(), "name": secret(), "input": {secret(): secret()}}]}
        answer = {"content": [{"type": "tool_result", "tool_use_id": f"ghp_{drawn[-3]}", "content": secret()}]}
        s.import_file(
            lines(
                "claude.jsonl",
                {"type": "summary", "summary": secret()},
                {"type": "assistant", "sessionId": secret(), "cwd": secret(), "version": secret(), "message": message},
                {"type": "user", "message": answer},
                {"type": secret()},
            )
        )
        steps = [{"action": f"GITHUB_TOKEN={secret()} gh pr list", "observation": secret(), "thought": secret()}]
        run_file = {"trajectory": steps, "info": {"exit_status": secret()}, "environment": secret()}
        s.import_file(lines("run.traj", run_file))
        turn = {"user_query": secret(), "tools_used": [secret()], "files_involved": [secret()]}
        s.import_file(lines("a.json", {"session_id": secret(), "x": secret(), "conversation_context": [turn]}))
        p.record(
            [secret()],
            type=secret(),
            success=True,
            tools=[secret()],
            files=[secret()],
            description=secret(),
            session=secret(),
        )
        entry = {"type": "T", "steps": ["x"], "context": {secret(): secret()}, "uses": []}
        p.import_file(lines("p.json", {"patterns": [entry]}))
        (tmp_path / "old" / "patterns").mkdir(parents=True)
        learned = {"pattern_id": "pattern_1", "pattern_type": "DebuggingStrategy", "description": "x"}
        lines("old/patterns/d.json", [{**learned, "context": secret(), "success_rate": 0.9, "usage_count": 1}])
        p.migrate(tmp_path / "old")
        events = [event for session in s.list() for event in s.events(session.id)]
        tools = [event.tool for event in events if isinstance(event, Call)]
        stored = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
        # Bodies are compressed, so what is read back counts as well.
        stored += repr((events, s.list(), p.query().all(), list(s.lines()))).encode()

    assert "gh" in tools
    assert [secret for secret in drawn if any(secret[at : at + 12].encode() in stored for at in (0, 20))] == []


def test_what_is_kept_of_a_long_text_is_told(s: Sessions) -> None:
    """Of a text beyond a million characters the first million are kept, and the rest is counted."""
    run = s.start("run-1")
    run.turn("user", "z" * 3_000_000)
    (turn,) = s.events("run-1")

    assert isinstance(turn, Turn)
    assert turn.text.endswith("z\n[cut here: 2,000,000 more characters]")


@pytest.mark.parametrize(
    "piece",
    [
        "password=", 'password="', "=token", "AccountKey=", "mysql -u ", "curl -u a:", "cookie: a=", "://a:b/",
        "-----BEGIN PRIVATE KEY-----\n", "login a password ", 'token: "a\'a`a ',
    ],
)  # fmt: skip
def test_no_text_makes_masking_slow(piece: str) -> None:
    """The beginnings of secrets, repeated to 300,000 characters, take time in proportion."""
    started = time.process_time()
    mask(piece * (300_000 // len(piece)))
    assert time.process_time() - started < 4


class Counting:
    """A pattern that counts the characters of what it matches."""

    def __init__(self, pattern: re.Pattern[str], counted: list[int]) -> None:
        self._pattern = pattern
        self._counted = counted

    def match(self, text: str, at: int) -> re.Match[str] | None:
        """Match, and count."""
        match = self._pattern.match(text, at)
        if match is not None:
            self._counted.append(match.end() - match.start())
        return match

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Find, and count."""
        for match in self._pattern.finditer(text):
            self._counted.append(match.end() - match.start())
            yield match


@pytest.mark.parametrize(
    "piece", ["cookie=b=" + ";" * 31, "cookie=b=c;", "cookie: a=bbbbbbbb; ", "cookie=a", "-eyJ", "eyJaaaaaaaaaaa-"]
)
def test_what_was_passed_over_is_not_matched_again(piece: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind's matches in a text hold it a few times over at most, not once for every keyword in them."""
    counted: list[int] = []
    compiled = SecretKind.pattern.fget  # type: ignore[attr-defined]
    monkeypatch.setattr(SecretKind, "pattern", property(lambda kind: Counting(compiled(kind), counted)))
    text = piece * (200_000 // len(piece))
    mask(text)

    assert 0 < sum(counted) < 3 * len(text)


@pytest.mark.parametrize("kind", [kind for kind in EXACT_KINDS + MASKED_KINDS if kind.keywords == ("eyJ",)])
def test_a_run_that_is_no_web_token_is_passed_over_whole(kind: SecretKind) -> None:
    """One try goes through a long run without points, though it holds many beginnings."""
    assert [match.span() for match in kind.pattern.finditer("-eyJ" * 50_000)] == [(1, 200_000)]
