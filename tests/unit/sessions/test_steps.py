from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamina.sessions.masking import mask
from lamina.sessions.steps import describe, failed, files_of, normalise, relative_to, step_of


@pytest.mark.parametrize(
    ("tool", "arguments", "step"),
    [
        ("Edit", {"file_path": "a.py"}, "edit"),
        ("MultiEdit", {}, "edit"),
        ("find_file", "fields.py src", "search"),
        ("open", '"src/a.py" 1474', "open"),
        ("python", "reproduce.py", "run-tests"),
        ("python", "main.py", "python <path>"),
        ("python", "tests/test_x.py", "run-tests"),
        ("Bash", {"command": "cd /x && pytest -q tests"}, "run-tests"),
        ("Bash", {"command": "npm run test -- --watch=false"}, "run-tests"),
        ("Bash", {"command": "git commit -m 'fix: \"x\"'"}, "git commit"),
        ("Bash", {"command": "FOO=1 sudo pip install -e ."}, "pip install"),
        ("Bash", {"command": "sed -n 1,5p a.py"}, "open"),
        ("Bash", {"command": "sed -i s/a/b/ a.py"}, "edit"),
        ("Bash", {"command": "python -m http.server 8000"}, "python -m http.server"),
        ("Bash", {"command": "cat 'unclosed"}, "open"),
        ("Bash", {"command": ""}, "shell"),
        ("str_replace_editor", {"command": "view", "path": "a"}, "open"),
        ("mcp__thing__do", {}, "mcp__thing__do"),
    ],
)
def test_steps(tool: str, arguments: Any, step: str) -> None:
    """Calls of many tools come to the same few steps."""
    assert step_of(tool, arguments) == step


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("open /home/me/x.py", "open <path>"),
        ("line 42 of src/a.py", "line <n> of <path>"),
        ("commit 3f2a9bc1d", "commit <hash>"),
        ("say 'hello there'", "say <str>"),
        ("get https://example.org/a?b=1", "get <url>"),
        ("plain words", "plain words"),
    ],
)
def test_particulars_are_taken_out(text: str, normal: str) -> None:
    """Paths, numbers, hashes, quoted strings and addresses are replaced by what they are."""
    assert normalise(text) == normal


@given(st.text(max_size=300), st.text(max_size=60))
def test_any_call_has_a_step(command: str, tool: str) -> None:
    """Whatever is called with whatever, there is a step of one line and no exception."""
    for arguments in (command, {"command": command}, {"file_path": command}, None, [command]):
        step = step_of(tool, arguments)
        assert step
        assert "\n" not in step
        files_of(tool, arguments)
    normalise(command)
    describe(command)
    failed(command)


def test_files_and_their_place() -> None:
    """Paths come from arguments and commands, and are relative to the project where they lie below it."""
    assert files_of("Edit", {"file_path": "/w/a.py"}) == ("/w/a.py",)
    assert files_of("Bash", {"command": "pytest tests/test_a.py -k b && echo done"}) == ("tests/test_a.py",)
    assert relative_to("/w", "/w/src/../a.py") == "a.py"
    assert relative_to("/w", "/other/a.py") == "/other/a.py"
    assert relative_to("/w", "/world/a.py") == "/world/a.py"


def test_errors_are_described_by_their_class() -> None:
    """Of a traceback the last line counts, without its particulars."""
    text = 'Traceback (most recent call last):\n  File "/x/y.py", line 3\nValueError: bad value 42 in /x/y.py'
    assert describe(text) == "ValueError: bad value <n> in <path>"


SECRETS = (
    "sk-" + "abcdefghij0123456789",
    "ghp_" + "a" * 36,
    "AKIA" + "ABCDEFGHIJKLMNOP",
    "xoxb-" + "1234567890-abcdef",
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
)


@given(st.sampled_from(SECRETS), st.text(alphabet="abc \n.,", max_size=40), st.text(alphabet="abc \n.,", max_size=40))
def test_a_secret_is_masked_wherever_it_stands(secret: str, before: str, after: str) -> None:
    """Nothing of a secret is left, and what is around it stays."""
    masked, count = mask(f"{before} {secret} {after}")
    assert count == 1
    assert secret not in masked
    assert masked.startswith(before)
    assert masked.endswith(after)


def test_more_secrets_are_found() -> None:
    """Passwords beside their name, in addresses, and private keys are found; ordinary text is left alone."""
    assert mask("password: hunter2222")[0] == "password: [masked: password]"
    assert mask("postgres://me:s3cretpw@host/db")[0] == "postgres://me:[masked: database URL with a password]@host/db"
    key = "MIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn" + "ygWyF0PbnGy0AHB7MPn4Wq1"
    assert mask(f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n-----END RSA PRIVATE KEY-----")[0] == "[masked: private key]"
    assert mask("the token count is 512, the secret is patience")[1] == 0
