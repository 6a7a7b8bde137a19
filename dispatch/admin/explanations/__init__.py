"""Why messages go where they go, on the pages of tasks, routes, queues and exchanges, and in one sentence."""
