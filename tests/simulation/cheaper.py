"""pyinfra with the same answers for less: it asks the stack, types and packages anew for each operation and host."""

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
    """The line numbers by which pyinfra orders operations, from the stack's frames alone.

    ``inspect.stack`` looks for the source of each of them.
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
        # Without its file pyinfra begins with the last frame.
        named = state.current_deploy_filename in names
        first = names.index(state.current_deploy_filename) if named else len(names) - 1
    lines: list[int] = [state.current_op_file_number] if pyinfra.is_cli else []
    return lines + [
        frame.f_lineno
        for frame in frames[first:]
        if not frame.f_code.co_filename.startswith(util.PYINFRA_INSTALL_DIR)
    ]


def make_cheaper() -> None:
    """Have pyinfra in this process remember what does not change."""
    # pyinfra.api has a function of the module's name.
    vars(sys.modules["pyinfra.api.operation"])["get_operation_order_from_stack"] = operation_order
    known: Any = functools.cache(connectors.get_all_connectors)
    connectors.get_all_connectors = inventory.get_all_connectors = known
    arguments.all_global_arguments = functools.cache(lambda: tuple(real_arguments()))  # type: ignore[assignment]
    HostData.__getattr__ = _data  # type: ignore[method-assign]
    inventory.Inventory.get_groups_data = _groups_data  # type: ignore[method-assign]


real_groups_data: Any = inventory.Inventory.get_groups_data
_groups: dict[tuple[int, tuple[str, ...]], Any] = {}


def _groups_data(self: inventory.Inventory, groups: list[str]) -> Any:
    """The data of all of a host's groups, which a run does not change."""
    key = id(self), tuple(groups)
    if key not in _groups:
        _groups[key] = real_groups_data(self, groups)
    return _groups[key]


real_arguments = arguments.all_global_arguments
_real_data = HostData.__getattr__


def _data(self: HostData, key: str) -> Any:
    """What a host has for a key; the message of the error that it has none takes longer than the search."""
    for data in self.datas:
        if key in (data() if callable(data) else data):
            return _real_data(self, key)
    raise AttributeError(key)
