//! The program `pirogue`: see [`pirogue::cli`].

fn main() {}
