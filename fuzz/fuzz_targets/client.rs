#![no_main]

use dtls_psk_fuzz::world::{self, Victim};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    world::run(Victim::Client, data);
});
