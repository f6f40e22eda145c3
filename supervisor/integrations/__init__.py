"""Integrations with agents' clients: MCP server, hooks, installation, and commands that run for a batch."""
