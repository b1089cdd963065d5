//! Entry point of loadgen. All of the work is in the library.

fn main() -> std::process::ExitCode {
    loadgen::main()
}
