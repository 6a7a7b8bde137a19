"""JSON Schema: what a task's parameters accept, and what a change of them means to callers."""
