"""Glance's policy rules of tasks with its current defaults."""

from pileus.kernel.policy import Rule

RULES = (
    Rule("tasks_api_access", "role:admin", "Create, list and show tasks; each of the other rules must hold too"),
    Rule("get_task", "", "Show a task"),
    Rule("get_tasks", "", "List tasks"),
    Rule("add_task", "", "Create a task"),
)
