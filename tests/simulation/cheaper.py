"""Make pyinfra cheaper with the same results: cache what it looks up again for each operation and host."""

import functools
import sys
from types import FrameType
from typing import Any

import pyinfra
from pyinfra.api import arguments, connectors, inventory, util
from pyinfra.api.host import HostData
from pyinfra.api.state import State

real_operation_order = util.get_operation_order_from_stack


def operation_order(state: State) -> list[int]:
    """Return the line numbers by which pyinfra orders operations, from the stack's frames alone.

    pyinfra uses ``inspect.stack``, which also looks up the source of each frame.
    """
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame:
        frames.append(frame)
        frame = frame.f_back
    frames.reverse()
    first = 0
    if state.current_deploy_filename:
        names = [frame.f_code.co_filename for frame in frames]
        # If the deploy's file is not in the stack, pyinfra begins with the last frame.
        in_stack = state.current_deploy_filename in names
        first = names.index(state.current_deploy_filename) if in_stack else len(names) - 1
    lines: list[int] = [state.current_op_file_number] if pyinfra.is_cli else []
    return lines + [
        frame.f_lineno
        for frame in frames[first:]
        if not frame.f_code.co_filename.startswith(util.PYINFRA_INSTALL_DIR)
    ]


def make_cheaper() -> None:
    """Have pyinfra in this process cache what does not change."""
    # pyinfra.api has a function with the module's name, so the module is only in sys.modules.
    vars(sys.modules["pyinfra.api.operation"])["get_operation_order_from_stack"] = operation_order
    cached: Any = functools.cache(connectors.get_all_connectors)
    connectors.get_all_connectors = inventory.get_all_connectors = cached
    arguments.all_global_arguments = functools.cache(lambda: tuple(real_arguments()))  # type: ignore[assignment]
    HostData.__getattr__ = _data  # type: ignore[method-assign]
    inventory.Inventory.get_groups_data = _groups_data  # type: ignore[method-assign]


real_groups_data: Any = inventory.Inventory.get_groups_data
_groups: dict[tuple[int, tuple[str, ...]], Any] = {}


def _groups_data(self: inventory.Inventory, groups: list[str]) -> Any:
    """Return the cached data of a host's groups, which a run does not change."""
    key = id(self), tuple(groups)
    if key not in _groups:
        _groups[key] = real_groups_data(self, groups)
    return _groups[key]


real_arguments = arguments.all_global_arguments
_real_data = HostData.__getattr__


def _data(self: HostData, key: str) -> Any:
    """Return a host's value for a key; for a missing key avoid pyinfra's expensive error message."""
    for data in self.datas:
        if key in (data() if callable(data) else data):
            return _real_data(self, key)
    raise AttributeError(key)
