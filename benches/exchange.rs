//! How fast the hub is, from received to sealed, and where the time goes.

fn main() {}
