"""How the sessions of agents are told: by hooks, by an MCP server, by commands; and how their clients are set up."""
