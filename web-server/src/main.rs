//! Entry point of the web server. All of the work is in the library.

fn main() -> std::process::ExitCode {
    web_server::main()
}
