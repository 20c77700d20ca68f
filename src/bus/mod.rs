//! The bus: what carries messages between members and the hub.
