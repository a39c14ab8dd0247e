"""The state of an OpenClaw cluster: tasks and nodes in a SQL database."""
