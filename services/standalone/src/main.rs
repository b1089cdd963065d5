//! Entry point of the standalone server. All of the work is in the library.

fn main() -> std::process::ExitCode {
    standalone::main()
}
