//! Entry point of shaddock-admin. All of the work is in the library.

fn main() -> std::process::ExitCode {
    admin::main()
}
