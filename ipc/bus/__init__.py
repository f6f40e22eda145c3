"""The Unix socket: the protocol, the server and the client."""
