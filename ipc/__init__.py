"""The library: configuration, the store of tasks and events, the socket, and the Python API over them."""
