"""Hosts of pyinfra's ``@fake`` connector in this process, for code that needs a host."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.context import ContextManager, ctx_config, ctx_inventory, ctx_state


@contextmanager
def using(context: ContextManager, module: object) -> Iterator[None]:
    """Set one of pyinfra's contexts; ``ContextManager.use`` leaves it set for all later tests if the body raises."""
    before = context.get()
    context.set(module)
    try:
        yield
    finally:
        context.set(before)


@contextmanager
def fake_hosts(responses: Mapping[str, Mapping[str, Any]], *, executing: bool = False) -> Iterator[State]:
    """Yield the state of a run on connected hosts; ``responses`` are ``fake_responses`` by host name."""
    names = [(f"@fake/{name}", {"fake_responses": dict(answers)}) for name, answers in responses.items()]
    inventory = Inventory((names, {"fake_delay": 0, "fake_delay_jitter": 0}))
    state = State(inventory, Config())
    connect_all(state)
    state.is_executing = executing
    with ExitStack() as contexts:
        for context, module in ((ctx_state, state), (ctx_inventory, inventory), (ctx_config, state.config)):
            contexts.enter_context(using(context, module))
        yield state
