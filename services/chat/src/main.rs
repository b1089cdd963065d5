//! Entry point of a chat shard. All of the work is in the library.

fn main() -> std::process::ExitCode {
    chat::main()
}
