from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from lamina.testing import MemoriesMachine


def test_random_walks_agree_with_the_model() -> None:
    """Random walks over the public face, through two handles, reopenings and crashes, answer as the model does."""
    short = settings(parent=settings.get_profile("test"), max_examples=25, stateful_step_count=25)
    run_state_machine_as_test(MemoriesMachine, settings=short)
