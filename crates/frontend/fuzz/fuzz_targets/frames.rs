#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| frontend::fuzzing::frames(data));
