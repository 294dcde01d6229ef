"""Run inside of drgn: print as JSON what it finds in the core of a Linux guest.

Names of tasks whose stacks are wanted are the script's arguments.
"""

import json
import sys
from typing import Any

from drgn import Object, get_default_prog
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import cpu_curr

prog = get_default_prog()


def name_of(task: Object) -> str:
    """Return a task's name."""
    return bytes(task.comm.string_()).decode()


def stack_of(task: Object) -> list[dict[str, Any]]:
    """Return the program counter and name of each frame of a task, the innermost first."""
    return [{"pc": frame.pc, "name": frame.name} for frame in prog.stack_trace(task)]


def symbol_at(pc: int) -> str | None:
    """Return the name of the function that is at an address, inlined ones not counted."""
    try:
        found: str = prog.symbol(pc).name
    except LookupError:
        return None
    return found


def current_on(cpu: int) -> dict[str, object]:
    """Return what a CPU does."""
    task = cpu_curr(prog, cpu)
    stack = stack_of(task)
    return {"name": name_of(task), "symbol": symbol_at(stack[0]["pc"]), "stack": stack}


tasks = list(for_each_task(prog))
print(
    json.dumps(
        {
            "release": prog["init_uts_ns"].name.release.string_().decode(),
            "tasks": {task.pid.value_(): name_of(task) for task in tasks},
            "current": [current_on(at) for at in range(prog["nr_cpu_ids"].value_())],
            "stacks": {
                name_of(task): stack_of(task) for task in tasks if name_of(task) in sys.argv[1:]
            },
        }
    )
)
