//! What an operator talks to: the socket, health, metrics.
