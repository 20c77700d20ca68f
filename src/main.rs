//! The program `pirogue`: see [`pirogue::cli`].

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pirogue::cli::run()
}
