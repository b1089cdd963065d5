//! Entry point of the gate. All of the work is in the library.

fn main() -> std::process::ExitCode {
    gate::main()
}
