//! The program `pirogue`: see [`pirogue::cli`].

fn main() -> std::process::ExitCode {
    pirogue::cli::run()
}
