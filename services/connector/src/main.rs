//! Entry point of the connector. All of the work is in the library.

fn main() -> std::process::ExitCode {
    connector::main()
}
