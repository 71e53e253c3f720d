#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| athomic_fuzz::feed("letter", input));
